package failover

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// dot draws the table that the machine moves by.
func dot() string {
	var out strings.Builder
	out.WriteString("// The roles of a group, drawn from the table that the machine moves by: go test ./ha/failover -run Dot -update\n")
	out.WriteString("digraph failover {\n\trankdir=LR;\n\tnode [shape=box, style=rounded];\n")
	for from := Starting; from <= Stuck; from++ {
		for to := Starting; to <= Stuck; to++ {
			var events []string
			for e := EventFit; e <= EventRefused; e++ {
				if t, ok := transitions[from][e]; ok && t == to {
					events = append(events, e.String())
				}
			}
			if len(events) > 0 {
				fmt.Fprintf(&out, "\t%s -> %s [label=%q];\n", from, to, strings.Join(events, "\n"))
			}
		}
	}
	out.WriteString("}\n")
	return out.String()
}

func TestDotIsTheTable(t *testing.T) {
	if *update {
		if err := os.WriteFile("states.dot", []byte(dot()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("states.dot")
	if err != nil {
		t.Fatal(err)
	}
	if got := dot(); got != string(want) {
		t.Errorf("states.dot is not the table; now it is\n%s", got)
	}
}

// Every role can be reached and left, and every event moves something.
func TestTableHasNoDeadEnds(t *testing.T) {
	reached := map[Role]bool{Starting: true}
	used := map[Event]bool{}
	for range transitions {
		for from, row := range transitions {
			for e, to := range row {
				used[e] = true
				reached[to] = reached[to] || reached[from]
			}
		}
	}
	for r := Starting; r <= Stuck; r++ {
		if !reached[r] || len(transitions[r]) == 0 {
			t.Errorf("%v: reached %v, ways out %d", r, reached[r], len(transitions[r]))
		}
	}
	for e := EventFit; e <= EventRefused; e++ {
		if !used[e] {
			t.Errorf("event %v moves nothing", e)
		}
	}
}

// The transcripts walk every edge of the graph: none stands there that nobody has seen.
func TestTranscriptsWalkEveryEdge(t *testing.T) {
	files, err := os.ReadDir("testdata/transcript")
	if err != nil {
		t.Fatal(err)
	}
	type edge struct {
		from Role
		e    Event
	}
	seen := map[edge]bool{}
	for _, f := range files {
		script, err := os.ReadFile("testdata/transcript/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		_, all, err := perform(string(script))
		if err != nil {
			t.Fatal(err)
		}
		for _, eff := range all {
			if tr, ok := eff.(Transition); ok {
				seen[edge{tr.From, tr.Event}] = true
				if to, ok := transitions[tr.From][tr.Event]; !ok || to != tr.To || tr.Cause == "" {
					t.Errorf("%s: %v by %v is not in the table, or has no cause", f.Name(), tr, tr.Event)
				}
			}
		}
	}
	var missing []string
	for from, row := range transitions {
		for e, to := range row {
			if !seen[edge{from, e}] {
				missing = append(missing, fmt.Sprintf("%v: %v → %v", from, e, to))
			}
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("never walked:\n%s", strings.Join(missing, "\n"))
	}
}

func TestNamesAreComplete(t *testing.T) {
	for what, pair := range map[string][2]int{
		"roles": {len(roleNames), int(Stuck) + 1}, "reasons": {len(reasonNames), int(ReasonRight) + 1}, "events": {len(eventNames), int(EventRefused) + 1},
		"kinds": {len(kindNames), int(KindUnmount) + 1}, "subjects": {len(subjectNames), int(AboutVerify) + 1},
		"alerts": {len(alertNames), int(AlertEnd) + 1}, "outcomes": {len(outcomeNames), int(TimedOut) + 1},
		"states": {len(stateNames), int(Red) + 1}, "elections": {len(electionNames), int(ByPeerQuiet) + 1},
		"disks": {len(diskNames), int(DiskFailed) + 1}, "apart": {len(apartNames), int(ApartSettings) + 1}, "rights": {len(rightNames), int(RightLost) + 1},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %d names for %d values", what, pair[0], pair[1])
		}
	}
}
