package vm

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

const requestA = "0123456789abcdef0123456789abcdef"

func aHold() *Hold {
	return &Hold{Request: requestA, For: "varda2", At: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC), By: "root, kvmctl fence"}
}

func TestAHoldIsReadAsItWasWritten(t *testing.T) {
	l := Layout{Root: t.TempDir()}
	if err := l.CheckHold("g"); err != nil {
		t.Errorf("no hold: %v", err)
	}
	if err := l.saveHold("g", aHold()); err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if !errors.As(l.CheckHold("g"), &held) {
		t.Fatal("it is not held")
	}
	if d := cmp.Diff(aHold(), held.Hold); d != "" {
		t.Error(d)
	}
	if held.Hint() != "kvmctl unhold g" || !held.Refused() || !strings.HasPrefix(held.Error(), "it was fenced for varda2 at 2026-03-01 ") {
		t.Errorf("%v; hint %q", held, held.Hint())
	}
	if st, err := os.Stat(l.HoldFile("g")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
}

func TestALongNameOfWhoAskedFits(t *testing.T) {
	l := Layout{Root: t.TempDir()}
	d := aHold()
	d.By = strings.Repeat("<ü\x1b", 500)
	if err := l.saveHold("g", d); err != nil {
		t.Fatal(err)
	}
	got, err := l.loadHold("g")
	if err != nil || len(got.By) > maxHoldBy || !strings.HasPrefix(got.By, "<ü<ü") {
		t.Errorf("%+v, %v", got, err)
	}
}

// What cannot be understood holds: the safe side of a doubt is a guest that stays down.
func TestADamagedHoldHolds(t *testing.T) {
	good := `{"version":1,"request":"` + requestA + `","for":"varda2","at":"2026-03-01T12:00:00Z","by":"root"}`
	if _, err := parseHold([]byte(good)); err != nil {
		t.Fatal(err)
	}
	l := library(t)
	for name, text := range map[string]string{
		"empty":             "",
		"cut":               good[:40],
		"another version":   strings.Replace(good, `"version":1`, `"version":2`, 1),
		"an unknown key":    strings.Replace(good, `"by"`, `"until":1,"by"`, 1),
		"two":               good + good,
		"too long":          good + strings.Repeat(" ", maxHold),
		"a short request":   strings.Replace(good, requestA, requestA[1:], 1),
		"capitals":          strings.Replace(good, requestA, strings.ToUpper(requestA), 1),
		"no node":           strings.Replace(good, "varda2", "", 1),
		"a node with a tab": strings.Replace(good, "varda2", `a\tb`, 1),
		"a node like flags": strings.Replace(good, "varda2", "--json", 1),
		"a terminal's code": strings.Replace(good, "root", `\u001b[2J`, 1),
		"no time":           strings.Replace(good, "2026-03-01T12:00:00Z", "0001-01-01T00:00:00Z", 1),
		"NUL bytes":         strings.Repeat("\x00", 200),
	} {
		if err := os.WriteFile(l.HoldFile("g"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var held *HeldError
		if !errors.As(l.CheckHold("g"), &held) || held.Hold != nil || held.Err == nil {
			t.Errorf("%s: %v", name, l.CheckHold("g"))
		}
	}
	for name, plant := range map[string]func() error{
		"a directory":     func() error { return os.Mkdir(l.HoldFile("g"), 0o700) },
		"a symbolic link": func() error { return os.Symlink("/nowhere", l.HoldFile("g")) },
	} {
		if err := os.Remove(l.HoldFile("g")); err != nil {
			t.Fatal(err)
		}
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if err := l.CheckHold("g"); err == nil {
			t.Errorf("%s does not hold", name)
		}
	}
	h := &Host{Layout: l, HistorySize: units.MiB}
	if was, err := h.Unhold("g"); err != nil || was == nil || was.Hold != nil {
		t.Errorf("unhold: %v, %v", was, err)
	}
	if err := h.CheckHold("g"); err != nil {
		t.Errorf("after unhold: %v", err)
	}
}

func TestUnholdTellsWhatItWasFor(t *testing.T) {
	h := &Host{Layout: library(t), HistorySize: units.MiB, By: "frodo, kvmctl unhold"}
	if was, err := h.Unhold("g"); was != nil || err != nil {
		t.Errorf("without a hold: %v, %v", was, err)
	}
	if err := h.saveHold("g", aHold()); err != nil {
		t.Fatal(err)
	}
	was, err := h.Unhold("g")
	if err != nil || was == nil || cmp.Diff(aHold(), was.Hold) != "" {
		t.Errorf("%+v, %v", was, err)
	}
	facts := history(t, h.Layout)
	if len(facts) != 1 || facts[0].Kind != KindUnhold || facts[0].Request != requestA || facts[0].By != h.By {
		t.Errorf("%+v", facts)
	}
}

func FuzzHold(f *testing.F) {
	b, err := encodeHold(aHold())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseHold(b)
		if err != nil {
			return
		}
		again, err := encodeHold(d)
		if err != nil {
			t.Fatalf("%+v: %v", d, err)
		}
		same, err := parseHold(again)
		if err != nil || !same.At.Equal(d.At) || same.Request != d.Request || same.For != d.For || same.By != d.By {
			t.Fatalf("%+v became %s, read as %+v, %v", d, again, same, err)
		}
	})
}
