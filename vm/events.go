package vm

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"
)

// GuestFact is a fact of one guest among those of others.
type GuestFact struct {
	VM string `json:"vm"`
	Fact
}

// KindSkipped stands in a stream of facts for events that were too many to be told; it is in no history.
const KindSkipped FactKind = "skipped"

// byTime sorts facts by their time; what has the same stays in the order of writing.
func byTime(facts []Fact) {
	slices.SortStableFunc(facts, func(a, b Fact) int { return a.Time.Compare(b.Time) })
}

// Merge gives the facts of several guests in the order of time; at the same moment, in that of the names.
func Merge(facts []GuestFact) {
	slices.SortStableFunc(facts, func(a, b GuestFact) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.VM, b.VM))
	})
}

// Newest gives the facts of one guest, oldest first, that are not before since, and of those the last most; 0: all. left is how many older
// ones that leaves out.
func Newest(facts []Fact, since time.Time, most int) (kept []Fact, left int) {
	for _, f := range facts {
		last := f.Time
		if f.Until != nil {
			last = *f.Until
		}
		if !last.Before(since) {
			kept = append(kept, f)
		}
	}
	if most > 0 && len(kept) > most {
		left = len(kept) - most
		kept = kept[left:]
	}
	return kept, left
}

// thin leaves out the events of QEMU's behind the first most, so that a guest that floods its recorder does not hide the others. What
// kvmctl itself noted, starts and ends, always stays.
func thin(facts []Fact, most int) []Fact {
	var out []Fact
	var skipped Fact
	for _, f := range facts {
		if f.Kind == KindEvent && most == 0 {
			skipped.Kind, skipped.Time, skipped.Run = KindSkipped, f.Time, f.Run
			skipped.Count += max(1, f.Count)
			continue
		}
		if f.Kind == KindEvent {
			most--
		}
		out = append(out, f)
	}
	if skipped.Count > 0 {
		out = append(out, skipped)
		byTime(out)
	}
	return out
}

// Recorded lists the guests that have a history or run, whether or not they are still configured, sorted.
func (l Layout) Recorded() ([]string, error) {
	names, err := l.Known()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(l.LibDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' && !(absent(l.History(e.Name())) && absent(l.HistoryOld(e.Name()))) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
