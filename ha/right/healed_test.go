package right

import "testing"

// TestHealed has a way back from every state, by no further fault and nobody's word: both connected, and each other's equals.
func TestHealed(t *testing.T) {
	for _, alone := range []string{"a", "arbiter", "fence"} {
		t.Run(alone, func(t *testing.T) {
			t.Parallel()
			c := config{alone: [2]string{alone, alone}, maxFaults: 2, maxN: 2, by: map[string]bool{}}
			all, index := []world{start()}, map[world]int32{start(): 0}
			var from, to []int32 // steps without a fault
			for at := 0; at < len(all); at++ {
				c.steps(ours(), all[at], func(_ string, next world) {
					i, ok := index[next]
					if !ok {
						i = int32(len(all))
						all, index[next] = append(all, next), i
					}
					if next.faults == all[at].faults {
						from, to = append(from, int32(at)), append(to, i)
					}
				})
			}
			back := make([][]int32, len(all))
			for i, f := range from {
				back[to[i]] = append(back[to[i]], f)
			}
			var queue []int32
			good := make([]bool, len(all))
			for i := range all {
				if c.equals(&all[i]) {
					good[i] = true
					queue = append(queue, int32(i))
				}
			}
			for len(queue) > 0 {
				at := queue[0]
				queue = queue[1:]
				for _, f := range back[at] {
					if !good[f] {
						good[f] = true
						queue = append(queue, f)
					}
				}
			}
			stuck := 0
			for i, ok := range good {
				if a, b := all[i].n[0], all[i].n[1]; ok || a.held != 0 && b.held != 0 {
					continue // each was ended by the other's fence: nobody is there to let anybody start
				}
				if stuck++; stuck <= 3 {
					t.Errorf("no way back: %+v", all[i])
				}
			}
			t.Logf("%d states, %d without a way back", len(all), stuck)
		})
	}
}

// equals reports whether either node may stand in for the other, and would win the arbiter's next number.
func (c config) equals(w *world) bool {
	a, b := &w.n[0], &w.n[1]
	return w.real(0) && Meet(c.session(w, 0, a.last)).Equal && Meet(c.session(w, 1, b.last)).Equal && a.last == b.rec && b.last == a.rec &&
		(c.alone[0] != string(ByArbiter) || a.rec.n == w.arb)
}
