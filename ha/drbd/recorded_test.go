package drbd

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// recordings are what two guests with DRBD 8.4.11 said (test/drbdlab/cmd/record), by scenario and node: file name to content.
func recordings(t testing.TB) map[string]map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/8.4/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	all := map[string]map[string][]byte{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			node, form, _ := strings.Cut(f.Name, "/")
			key := strings.TrimSuffix(filepath.Base(path), ".txtar") + " " + node
			if all[key] == nil {
				all[key] = map[string][]byte{}
			}
			all[key][form] = f.Data
		}
	}
	return all
}

// followed is the state at the end of a stream of events.
func followed(t testing.TB, events []byte) State {
	t.Helper()
	var s State
	for line := range bytes.Lines(events) {
		e, err := ParseEvent(string(line))
		if err == nil {
			err = s.Apply(e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// place looks a minor up in a state.
func (s State) place(minor int) (string, int, bool) {
	for _, r := range s.Resources {
		for _, v := range r.Volumes {
			if v.Minor == minor {
				return r.Name, v.Number, true
			}
		}
	}
	return "", 0, false
}

// TestFormsAgree holds each form of one recorded moment against the others, and against the events that led there.
func TestFormsAgree(t *testing.T) {
	for name, forms := range recordings(t) {
		t.Run(name, func(t *testing.T) {
			if bytes.HasPrefix(forms["events2-now"], []byte("exit ")) {
				if s, err := ParseEvents(forms["events2-now"]); err == nil {
					t.Errorf("a failure is read as %+v", s)
				}
				return
			}
			now, err := ParseEvents(forms["events2-now"])
			if err != nil {
				t.Fatal(err)
			}
			status, err := ParseStatus(forms["status"])
			if err != nil {
				t.Fatal(err)
			}
			want := now.Bare()
			if diff := cmp.Diff(want, status.Bare()); diff != "" {
				t.Errorf("status differs from events2 --now (-now +status):\n%s", diff)
			}
			if diff := cmp.Diff(want, followed(t, forms["events2"]).Bare()); diff != "" {
				t.Errorf("the events lead elsewhere (-now +followed):\n%s", diff)
			}
			proc, err := ParseProc(forms["proc"])
			if err != nil {
				t.Fatal(err)
			}
			if proc.Version != "8.4.11" {
				t.Errorf("version %q", proc.Version)
			}
			for i := range want.Resources { // it does not say why
				if r := &want.Resources[i]; r.Suspended != 0 {
					r.Suspended = BySomebody
				}
			}
			if diff := cmp.Diff(want, proc.State(now.place).Bare()); diff != "" {
				t.Errorf("/proc/drbd differs from events2 --now (-now +proc):\n%s", diff)
			}
		})
	}
}

// TestMeaning keeps what each recorded moment means in testdata/meaning.txt.
func TestMeaning(t *testing.T) {
	var lines []string
	for name, forms := range recordings(t) {
		s, err := ParseEvents(forms["events2-now"])
		if err != nil {
			lines = append(lines, name+": no answer\n")
			continue
		}
		if len(s.Resources) == 0 {
			lines = append(lines, name+": nothing configured\n")
		}
		for _, r := range s.Resources {
			why := ""
			if r.StandAlone() {
				why = fmt.Sprintf(" because %+v", ReadLog(forms["log"], s.place)[r.Name])
			}
			lines = append(lines, name+": "+meaning(r)+why+"\n")
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "")
	const golden = "testdata/meaning.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func meaning(r Resource) string {
	words := []string{r.Name, r.Role.String()}
	for _, p := range []struct {
		is   bool
		word string
	}{
		{r.AllUpToDate(), "good"}, {r.Failed(), "failed"}, {r.Connected(), "connected"}, {r.StandAlone(), "stand-alone"}, {r.PeerUpToDate(), "peer-good"},
		{r.PeerPrimary(), "peer-primary"}, {r.Verifying(), "verifying"}, {r.Suspended != 0, "suspended-by-" + r.Suspended.String()},
		{r.Resyncing() != Nowhere, "resync-" + strings.ReplaceAll(r.Resyncing().String(), " ", "-")},
	} {
		if p.is {
			words = append(words, p.word)
		}
	}
	for _, v := range r.Volumes {
		words = append(words, fmt.Sprintf("%d:%s", v.Number, v.Disk))
	}
	return strings.Join(words, " ")
}

// TestNine holds the forms of DRBD 9 against each other.
func TestNine(t *testing.T) {
	a, err := txtar.ParseFile("testdata/9/resync.txtar")
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string][]byte{}
	for _, f := range a.Files {
		forms[f.Name] = f.Data
	}
	now, err := ParseEvents(forms["events2-now"])
	if err != nil {
		t.Fatal(err)
	}
	verbose, err := ParseStatus(forms["status-verbose"])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(now, verbose); diff != "" {
		t.Errorf("status --verbose (-now +status):\n%s", diff)
	}
	fromJSON, err := ParseStatusJSON(forms["json"])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(now, fromJSON); diff != "" {
		t.Errorf("json (-now +json):\n%s", diff)
	}
	if diff := cmp.Diff(now.Bare(), followed(t, forms["events2"]).Bare()); diff != "" {
		t.Errorf("the events lead elsewhere (-now +followed):\n%s", diff)
	}
	short, err := ParseStatus(forms["status"])
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{meaning(short.Resources[0]), meaning(short.Resources[1])}; !slices.Equal(got, []string{
		"r0 Secondary connected peer-good peer-primary resync-to-here 0:UpToDate 1:Inconsistent",
		"r1 Primary good suspended-by-fencing 0:UpToDate",
	}) {
		t.Errorf("the short status means %q", got)
	}
	if diff := cmp.Diff(conversations(now), conversations(short)); diff != "" {
		t.Errorf("the short status (-now +short):\n%s", diff)
	}
}

// conversations are what the volumes of each connected peer do; the short form has no volumes of others.
func conversations(s State) (all []string) {
	for _, r := range s.Resources {
		for _, p := range r.Peers {
			for _, v := range p.Volumes {
				if p.Connection != Connected {
					continue
				}
				all = append(all, fmt.Sprint(r.Name, " ", p.Name, " ", p.Connection, " ", v.Number, " ", v.Replication))
			}
		}
	}
	return all
}
