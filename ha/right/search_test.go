package right

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// most is where a search ends that has not seen all.
const most = 5 << 20

// found is what a search over all states came to.
type found struct {
	states  int
	trace   []string // to the first state that breaks an invariant; nil: none does
	reached map[string]bool
	end     world
}

func search(c config, r rules, limit int) found {
	all, from := []world{start()}, []int32{-1}
	seen := map[world]struct{}{all[0]: {}}
	out := found{reached: map[string]bool{}}
	c.by = out.reached
	bad := -1
	for at := 0; at < len(all) && bad < 0 && len(all) < limit; at++ {
		c.steps(r, all[at], func(_ string, next world) {
			if _, ok := seen[next]; ok || bad >= 0 {
				return
			}
			seen[next] = struct{}{}
			all, from = append(all, next), append(from, int32(at))
			for i, n := range next.n {
				if n.up && n.prim && !n.frozen && !n.conn && !next.n[1-i].up {
					out.reached[names[i]+" serves alone"] = true
				}
			}
			if next.check() != "" {
				bad = len(all) - 1
			}
		})
	}
	out.states = len(all)
	if bad >= 0 {
		out.end = all[bad]
		out.trace = append(out.trace, all[bad].check())
		c.told = true
		for at := bad; at > 0; at = int(from[at]) {
			name := ""
			c.steps(r, all[from[at]], func(step string, next world) {
				if next == all[at] {
					name = step
				}
			})
			out.trace = slices.Insert(out.trace, 0, name)
		}
	}
	return out
}

func (f found) String() string {
	return fmt.Sprintf("%d states\n  %s\n  %+v", f.states, strings.Join(f.trace, "\n  "), f.end)
}

// TestModel sees every state that so many faults lead to: crashes, breaks of the link and of DRBD's connection, requests that are given up, requests
// made without need.
func TestModel(t *testing.T) {
	for _, tc := range []struct {
		name    string
		config  config
		reached string
	}{
		{"named", config{alone: [2]string{"a", "a"}, maxFaults: 4, maxN: 3}, "a serves alone, a by named, b by let-go"},
		{"arbiter", config{alone: [2]string{"arbiter", "arbiter"}, maxFaults: 3, maxN: 3}, "a by arbiter, b by arbiter, a by let-go, b by let-go, a serves alone, b serves alone"},
		{"fence", config{alone: [2]string{"fence", "fence"}, maxFaults: 3, maxN: 3}, "a by fence, b by fence, a by let-go, b by let-go, a serves alone, b serves alone"},
		{"the files differ", config{alone: [2]string{"a", "b"}, maxFaults: 4, maxN: 3}, ""},
		{"named, and a person", config{alone: [2]string{"a", "a"}, maxFaults: 3, maxN: 3, person: true}, "a by confirm-dead, b by confirm-dead, a serves alone, b serves alone"},
		{"arbiter, and a person", config{alone: [2]string{"arbiter", "arbiter"}, maxFaults: 2, maxN: 3, person: true}, "a by confirm-dead, b by confirm-dead, a serves alone, b serves alone"},
		{"fence, and a person", config{alone: [2]string{"fence", "fence"}, maxFaults: 2, maxN: 3, person: true}, "a by confirm-dead, b by confirm-dead, a serves alone, b serves alone"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.config.maxFaults, tc.config.maxN = max(2, tc.config.maxFaults-2*fewer), tc.config.maxN-fewer
			began := time.Now()
			f := search(tc.config, ours(), most)
			t.Logf("%d states in %v", f.states, time.Since(began).Round(time.Millisecond))
			if f.states >= most {
				t.Fatal("not all states were seen")
			}
			if f.trace != nil {
				t.Fatalf("broken: %v", f)
			}
			for _, want := range strings.Split(tc.reached, ", ") {
				if want != "" && !f.reached[want] {
					t.Errorf("never: %s", want)
				}
			}
		})
	}
}
