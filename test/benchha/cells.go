package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// act is one of a cell's events; its figures are rows of the table.
type act struct {
	what   string
	node   string        // who is to answer
	window time.Duration // watched at least; 0: until a second after the takeover
	event  func(*rig) error
	rule   rule
	spread time.Duration // it comes at a random time within this, later than it could; the same for all contenders of a batch
}

// rule says what is wanted of kvmha.
type rule struct {
	alone  bool          // nobody may have the address twice, in any run
	outage time.Duration // the longest of any run, instead of the others' median; 0: theirs
	first  time.Duration // the median until the first answer, instead of the others'; 0: theirs
	ahead  time.Duration // before ucarp by so much
	rivals []int         // whose columns "the better" is of; nil: the first two others
	noDual bool          // both nodes have the address by the nature of the event: nothing is wanted
}

// cell is a row of the bench: a lab in which the acts follow each other.
type cell struct {
	name, title string
	checked     bool // with a check of a service
	acts        []act
}

// dualWindow is how long dual ownership is counted after the end of an agent: that of the others has no end.
const dualWindow = 6 * time.Second

// healSpread is more than the longest interval of adverts: each of the two masters has its own beat since the partition began, and a heal at a
// fixed time after that would meet each contender at a phase that its own timers choose.
const healSpread = 2 * time.Second

func cells() []cell {
	restart := func(r *rig) error { return errors.Join(r.a.Join(), r.start(r.a)) }
	return []cell{
		{"crash", "host crash", false, []act{
			{"host crash", "b", 0, func(r *rig) error { return r.a.Crash() }, rule{ahead: time.Second}, 0},
			{"failback after it", "a", 0, restart, rule{}, 0}}},
		{"kill", "kill −9 of the daemon", false, []act{
			{"kill −9", "b", dualWindow, func(r *rig) error { return r.signal(r.a, unix.SIGKILL) }, rule{alone: true, outage: 3500 * time.Millisecond}, 0}}},
		{"stop", "clean stop", false, []act{
			{"clean stop", "b", 0, func(r *rig) error { return r.procs["a"].Signal(unix.SIGTERM) }, rule{}, 0}}},
		{"link", "link down and up", false, []act{
			{"link down", "b", 0, func(r *rig) error { return r.a.Unplug() }, rule{}, 0},
			{"link up", "a", 0, func(r *rig) error { return r.a.Plug() }, rule{}, 0}}},
		{"partition", "partition and its heal", false, []act{
			{"partition", "b", dualWindow, func(r *rig) error { return r.a.Cut() }, rule{noDual: true}, 0},
			{"partition heals", "a", 4 * time.Second, func(r *rig) error { return r.a.Join() }, rule{}, healSpread}}},
		{"hang", "hang and thaw", false, []act{
			{"hang", "b", dualWindow, func(r *rig) error { return r.signal(r.a, unix.SIGSTOP) }, rule{alone: true, outage: 3500 * time.Millisecond}, 0},
			{"thaw", "a", 4 * time.Second, func(r *rig) error { return r.signal(r.a, unix.SIGCONT) }, rule{}, 0}}},
		{"service", "failure of a service", true, []act{
			{"service fails (1 s × 3)", "b", 0, func(r *rig) error { return os.WriteFile(badService(r.a), nil, 0o644) }, rule{}, 0}}},
	}
}

// cell runs a cell with all contenders: in each batch as many labs of each, which meet the same phases and the same noise.
func (b *bench) cell(ctx context.Context, c cell, all []contender, table *[]row) error {
	got := make([][][]sample, len(all)) // contender, act, run
	for i := range got {
		got[i] = make([][]sample, len(c.acts))
	}
	var mu sync.Mutex
	for done := 0; done < b.o.runs; done += b.o.labs {
		var wg sync.WaitGroup
		var errs []error
		for run := done; run < min(done+b.o.labs, b.o.runs); run++ {
			phase, spread := time.Duration(rand.Int64N(int64(time.Second))), rand.Float64()
			for i, who := range all {
				if c.checked && !who.check {
					continue
				}
				wg.Go(func() {
					samples, err := b.once(ctx, c, who, phase, spread, fmt.Sprintf("%s%d%d", c.name, run, i))
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						errs = append(errs, fmt.Errorf("%s, run %d: %w", who.name, run, err))
						return
					}
					for j, s := range samples {
						got[i][j] = append(got[i][j], s)
					}
				})
			}
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	for j, a := range c.acts {
		samples := make([][]sample, len(all))
		for i := range all {
			samples[i] = got[i][j]
		}
		*table = append(*table, b.report.cell(a, names(all), samples)...)
	}
	return nil
}

// once runs a cell with one contender. spread, from 0 to 1, is how far in its own spread an act comes.
func (b *bench) once(ctx context.Context, c cell, who contender, phase time.Duration, spread float64, name string) (samples []sample, err error) {
	r, err := newRig(ctx, filepath.Join(b.dir, name), c, who)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.lab.Close(), os.RemoveAll(filepath.Join(b.dir, name))) }()
	for i, a := range c.acts {
		if i == 0 {
			if err := r.phased(ctx, phase); err != nil {
				return nil, err
			}
		} else if err := pause(ctx, time.Duration(spread*float64(a.spread))); err != nil {
			return nil, err
		}
		s, err := r.act(ctx, a.node, a.window, func() error { return a.event(r) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.what, err)
		}
		if s.never && os.Getenv("BENCHHA_LOGS") != "" {
			say("%s: nobody answered:\n%s\n%s", a.what, r.procs["a"].Output(), r.procs["b"].Output())
		}
		samples = append(samples, s)
	}
	return samples, nil
}

// duals ends the agent at any phase and sums the seconds in which both nodes had the address.
func (b *bench) duals(ctx context.Context) error {
	who := b.contenders()[0]
	for _, c := range cells() {
		if c.name != "kill" && c.name != "hang" {
			continue
		}
		var mu sync.Mutex
		all := make([][]sample, len(c.acts))
		var errs []error
		next := make(chan int)
		var wg sync.WaitGroup
		for range 3 * b.o.labs {
			wg.Go(func() {
				for run := range next {
					s, err := b.once(ctx, c, who, time.Duration(rand.Int64N(int64(time.Second))), rand.Float64(), fmt.Sprintf("d%s%d", c.name, run))
					mu.Lock()
					if err != nil {
						errs = append(errs, fmt.Errorf("run %d: %w", run, err))
					} else {
						for i, x := range s {
							all[i] = append(all[i], x)
						}
					}
					mu.Unlock()
				}
			})
		}
		for run := range b.o.dual {
			if ctx.Err() == nil {
				next <- run
			}
		}
		close(next)
		wg.Wait()
		if err := errors.Join(append(errs, context.Cause(ctx))...); err != nil {
			return err
		}
		for i, a := range c.acts {
			b.report.dual(a, all[i])
		}
	}
	return nil
}
