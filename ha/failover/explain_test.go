package failover

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryEventIsExplained writes for each event, with each reason of waiting that it leads to, what `kvmha log --explain` prints of it the first
// time that a transcript shows it. An event or a reason without a transcript, a cause or facts is a hole.
func TestEveryEventIsExplained(t *testing.T) {
	files, err := filepath.Glob("testdata/transcript/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		event  Event
		reason Reason
	}
	told, events, reasons := map[key]string{}, map[Event]bool{}, map[Reason]bool{}
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, effects, err := perform(string(script))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range effects {
			tr, ok := e.(Transition)
			if !ok {
				continue
			}
			if tr.Cause == "" || len(tr.Facts) == 0 {
				t.Errorf("%s: %v has no cause or no facts: %q", file, tr, tr.Facts)
			}
			k := key{tr.Event, tr.Reason}
			events[k.event], reasons[k.reason] = true, true
			if told[k] == "" {
				told[k] = fmt.Sprintf("%s: %s -> %s: %s: %s\n    %s\n", strings.TrimSuffix(filepath.Base(file), ".txt"), tr.From, tr.Label(), tr.Event, tr.Cause,
					strings.Join(tr.Facts, "\n    "))
			}
		}
	}
	var all strings.Builder
	for e := range Event(len(eventNames)) {
		if !events[e] {
			t.Errorf("no transcript shows the event %v", e)
		}
		for r := range Reason(len(reasonNames)) {
			if e == 0 && !reasons[r] {
				t.Errorf("no transcript shows the reason %v", r)
			}
			all.WriteString(told[key{e, r}])
		}
	}
	const golden = "testdata/explained.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), all.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
