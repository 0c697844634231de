package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// witnessEvery is the time between two looks of a witness.
const witnessEvery = 10 * time.Millisecond

// witness notes how long the machine kept this process, and every thread of the processes that it watches, from running although they would have:
// what a promise of milliseconds is not to blame for. A kernel without CONFIG_SCHED_INFO tells of this process alone.
type witness struct {
	pids []int

	mu   sync.Mutex
	seen []kept
}

// kept is what one look found to be new: a thread's wait counts when it has ended.
type kept struct {
	from, to     time.Time
	all, longest time.Duration // of all threads together, and of the one that waited longest
}

// watch begins to look, and ends with the test.
func watch(t *testing.T, pids ...int) *witness {
	t.Helper()
	w := &witness{pids: pids}
	quit := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { w.run(quit) })
	t.Cleanup(func() { close(quit); all.Wait() })
	return w
}

func (w *witness) run(quit <-chan struct{}) {
	tick := time.NewTicker(witnessEvery)
	defer tick.Stop()
	last, before := time.Now(), w.delays()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
		}
		now := time.Now()
		k := kept{from: last, to: now}
		k.longest = max(0, now.Sub(last)-witnessEvery)
		k.all = k.longest
		delays := w.delays()
		for thread, d := range delays {
			k.all += d - before[thread]
			k.longest = max(k.longest, d-before[thread])
		}
		last, before = now, delays
		w.mu.Lock()
		w.seen = append(w.seen, k)
		w.mu.Unlock()
	}
}

// delays gives how long each thread has waited for a processor, since it began: the second field of schedstat (proc(5), sched-stats.rst).
func (w *witness) delays() map[string]time.Duration {
	all := map[string]time.Duration{}
	for _, pid := range w.pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/task"
		threads, _ := os.ReadDir(dir) // none of a process that has ended
		for _, thread := range threads {
			file := filepath.Join(dir, thread.Name(), "schedstat")
			text, err := os.ReadFile(file)
			if f := strings.Fields(string(text)); err == nil && len(f) > 1 { // a thread that has ended waits no more
				ns, _ := strconv.ParseInt(f[1], 10, 64)
				all[file] = time.Duration(ns)
			}
		}
	}
	return all
}

// waited gives how long the machine kept the threads waiting between two moments, all together and at the longest.
func (w *witness) waited(from, to time.Time) (all, longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.seen {
		if k.to.After(from) && k.from.Before(to.Add(witnessEvery)) { // the last wait may be told a look later
			all, longest = all+k.all, max(longest, k.longest)
		}
	}
	return all, longest
}
