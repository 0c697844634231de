package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

// library is a root with a guest's folder in it.
func library(t testing.TB) Layout {
	t.Helper()
	l := Layout{Root: t.TempDir()}
	if err := MakeDirs(l.GuestLibDir("g"), 0o711); err != nil {
		t.Fatal(err)
	}
	return l
}

func note(i int) Fact { return Fact{V: factVersion, Kind: KindNote, Reason: fmt.Sprint(i)} }

func write(t testing.TB, l Layout, limit units.Size, facts ...Fact) {
	t.Helper()
	if err := l.appendFacts("g", limit, false, facts...); err != nil {
		t.Fatal(err)
	}
}

func history(t testing.TB, l Layout) []Fact {
	t.Helper()
	facts, err := l.Log("g")
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

func TestAHistoryIsRotatedAndKeepsItsNewestPart(t *testing.T) {
	l := library(t)
	const limit = 4 << 10
	for i := range 500 {
		write(t, l, limit, note(i))
		for _, path := range []string{l.History("g"), l.HistoryOld("g")} {
			if st, err := os.Stat(path); err == nil && st.Size() > limit/2 {
				t.Fatalf("%s has %d bytes", path, st.Size())
			}
		}
	}
	facts := history(t, l)
	first := 500 - len(facts)
	for i, f := range facts {
		if f.Reason != fmt.Sprint(first+i) {
			t.Fatalf("fact %d is %s, want %d", i, f.Reason, first+i)
		}
	}
	if len(facts) < 30 {
		t.Errorf("%d facts are kept", len(facts))
	}
	if st, err := os.Stat(l.History("g")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestRecentFactsReachOverARotation(t *testing.T) {
	l := library(t)
	for i := range 3 {
		write(t, l, units.MiB, note(i))
	}
	if err := os.Rename(l.History("g"), l.HistoryOld("g")); err != nil {
		t.Fatal(err)
	}
	if got := l.recent("g", 8<<10); len(got) != 3 {
		t.Errorf("just rotated: %d facts, want 3", len(got))
	}
	write(t, l, units.MiB, note(3))
	var got []string
	for _, f := range l.recent("g", 8<<10) {
		got = append(got, f.Reason)
	}
	if d := cmp.Diff([]string{"0", "1", "2", "3"}, got); d != "" {
		t.Error(d)
	}
	if got := l.recent("g", 80); len(got) != 1 || got[0].Reason != "3" {
		t.Errorf("the last 80 bytes: %+v", got)
	}
}

func TestALineThatACrashCutDoesNotSwallowTheNext(t *testing.T) {
	l := library(t)
	write(t, l, units.MiB, note(1), note(2))
	b, err := os.ReadFile(l.History("g"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < 20; cut++ {
		if err := os.WriteFile(l.History("g"), b[:len(b)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		write(t, l, units.MiB, note(3))
		facts := history(t, l)
		want := []Fact{note(1), note(3)}
		if cut == 1 { // only the end of line is missing
			want = []Fact{note(1), note(2), note(3)}
		}
		if d := cmp.Diff(want, facts); d != "" {
			t.Errorf("%d bytes cut: %s", cut, d)
		}
	}
}

func TestDamagedLinesArePassedOver(t *testing.T) {
	line := func(f Fact) string { b, _ := json.Marshal(f); return string(b) + "\n" }
	long := line(Fact{V: 1, Kind: KindNote, Reason: strings.Repeat("x", 2*maxFact)})
	tail := `{"v":1,"kind":"end","state":"stopped"}` + "\n" // would be a fact of its own
	for _, tt := range []struct {
		name, text string
		want       []Fact
	}{
		{"nothing", "", nil},
		{"NULs", "\x00\x00\x00\n" + line(note(1)), []Fact{note(1)}},
		{"another version", `{"v":2,"kind":"end"}` + "\n" + line(note(1)), []Fact{note(1)}},
		{"no kind", `{"v":1}` + "\n" + line(note(1)), []Fact{note(1)}},
		{"a line too long", long + line(note(1)), []Fact{note(1)}},
		{"the rest of a line too long", strings.Repeat("x", maxFact) + tail + line(note(1)), []Fact{note(1)}},
		{"no end of line", line(note(1)) + strings.TrimSuffix(line(note(2)), "\n"), []Fact{note(1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := readFacts(strings.NewReader(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Harvests and starts write under different locks; none may lose what another wrote, rotation or not.
func TestManyWritersOfOneHistoryLoseNothing(t *testing.T) {
	l := library(t)
	const writers, each = 8, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.appendFacts("g", 64<<10, false, note(w*each+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for _, f := range history(t, l) {
		seen[f.Reason]++
	}
	for i := range writers * each {
		if seen[fmt.Sprint(i)] != 1 {
			t.Errorf("fact %d is there %d times", i, seen[fmt.Sprint(i)])
		}
	}
}

// With so small a limit every writer rotates: what the last rotation kept has to be a gapless end.
func TestRotatingWritersThrowAwayNoMoreThanTheOldHalf(t *testing.T) {
	l := library(t)
	const limit = 2 << 10
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				if err := l.appendFacts("g", limit, false, note(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	st, err := os.Stat(l.HistoryOld("g"))
	if err != nil {
		t.Fatal(err)
	}
	if line := int64(70); st.Size() < limit/2-line { // it was rotated because one more line would not have fit
		t.Errorf("the old half has %d bytes: a second writer rotated it away", st.Size())
	}
}

func TestRepeatsAreCounted(t *testing.T) {
	at := func(sec, off int64, name, data string) Fact {
		f := event("r", name, data)
		f.Time, f.Offset = time.Unix(sec, 0).UTC(), off
		return f
	}
	var facts []Fact
	for _, f := range []Fact{at(1, 10, "A", "1"), at(2, 20, "A", "1"), at(3, 30, "A", "1"), at(4, 40, "A", "2"), at(5, 50, "B", ""), at(6, 60, "A", "1")} {
		facts = fold(facts, f)
	}
	until := time.Unix(3, 0).UTC()
	first := at(1, 30, "A", "1")
	first.Count, first.Until = 3, &until
	if d := cmp.Diff([]Fact{first, at(4, 40, "A", "2"), at(5, 50, "B", ""), at(6, 60, "A", "1")}, facts); d != "" {
		t.Error(d)
	}
}

func FuzzReadFacts(f *testing.F) {
	good, err := json.Marshal(note(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(good, '\n'))
	f.Add([]byte("{\"v\":1,\"kind\":\"x\"}\n\x00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, _, err := readFacts(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err) // a reader of bytes has no errors
		}
		if lines := bytes.Count(b, []byte("\n")); len(facts) > lines {
			t.Fatalf("%d facts in %d lines", len(facts), lines)
		}
		// What was read is read again from what we would write.
		var out bytes.Buffer
		for _, fact := range facts {
			line, err := json.Marshal(fact)
			if err != nil {
				t.Fatal(err)
			}
			if len(line) < maxFact {
				out.Write(append(line, '\n'))
			}
		}
		again, _, err := readFacts(&out)
		if err != nil || len(again) > len(facts) {
			t.Fatalf("%d facts became %d, %v", len(facts), len(again), err)
		}
	})
}
