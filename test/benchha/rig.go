package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// rig is a lab with one contender on two nodes, a preferred and b standing by, and what watches them.
type rig struct {
	cell    cell
	c       contender
	lab     *hatest.Lab
	a, b    *hatest.Node
	vip     netip.Addr
	probe   *hatest.Probe
	holders *hatest.Holders
	sniff   *hatest.Sniffer
	procs   map[string]*hatest.Process
	beside  map[string]*hatest.Process // by node; none where the contender has nothing
}

// newRig starts both nodes and waits until a alone has had the address for a while.
func newRig(ctx context.Context, dir string, cell cell, c contender) (r *rig, err error) {
	lab, err := hatest.New(dir, "a", "b")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lab.Close())
		}
	}()
	v4, _ := hatest.Shared(0)
	r = &rig{cell: cell, c: c, lab: lab, a: lab.Node("a"), b: lab.Node("b"), vip: v4, holders: lab.Holders(v4), procs: map[string]*hatest.Process{},
		beside: map[string]*hatest.Process{}}
	if r.probe, err = lab.Probe(v4); err != nil {
		return nil, err
	}
	if r.sniff, err = r.a.Sniff(hatest.Advert); err != nil {
		return nil, err
	}
	if c.before != nil {
		if err := c.before(r); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(r.start(r.a), r.start(r.b)); err != nil {
		return nil, err
	}
	if err := r.settled(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s\n%s", err, r.procs["a"].Output(), r.procs["b"].Output())
	}
	return r, nil
}

func (r *rig) start(n *hatest.Node) error {
	if r.c.beside != nil {
		t, err := r.c.beside(n)
		if err != nil {
			return err
		}
		r.beside[n.Name] = t
	}
	p, err := r.c.start(r, n)
	r.procs[n.Name] = p
	return err
}

// settle is how long the preferred node has to have had the address alone: longer than any contender takes to announce it again.
const settle = 1500 * time.Millisecond

func (r *rig) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	since := time.Now()
	err := hatest.Until(ctx, func() bool {
		if !slices.Equal(r.holders.Now(), []string{"a"}) || r.c.ready != nil && !r.c.ready(r) {
			since = time.Now()
		}
		return time.Since(since) > settle
	})
	if err != nil {
		return fmt.Errorf("the preferred node never had the address alone: %w: %+v", err, r.holders.Spans())
	}
	return nil
}

// phased waits for an advert of a's and then a part of the interval: the event that follows meets every contender at the same phase.
func (r *rig) phased(ctx context.Context, phase time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := r.sniff.Wait(ctx, len(r.sniff.Frames())+1, func(hatest.Frame) bool { return true })
	if err != nil {
		return fmt.Errorf("wait for an advert: %w", err)
	}
	return pause(ctx, time.Until(f.At.Add(phase)))
}

// pause is a part of the measurement, not a wait for luck.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sample is what one event brought.
type sample struct {
	takeover, outage, dual time.Duration
	never                  bool // nobody took over within the limit
}

// limit is how long a takeover is waited for: ucarp looks at a lost link every 10 s only.
const limit = 15 * time.Second

// act makes something happen and watches until the node answers, a second longer, and for a whole window at least.
func (r *rig) act(ctx context.Context, node string, window time.Duration, event func() error) (sample, error) {
	before := r.holders.Dual()
	began := time.Now()
	if err := event(); err != nil {
		return sample{}, err
	}
	within, cancel := context.WithDeadline(ctx, began.Add(limit))
	defer cancel()
	var s sample
	took, err := r.probe.From(within, node, began)
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	if s.takeover = took; err != nil {
		s.takeover, s.never = limit, true
	}
	if err := pause(ctx, time.Until(began.Add(max(window, s.takeover+time.Second)))); err != nil {
		return s, err
	}
	s.outage = r.probe.Answers().Outage(began, time.Now())
	s.dual = r.holders.Dual() - before
	return s, nil
}

// signal goes to the node's daemon and its children: keepalived's adverts come from one.
func (r *rig) signal(n *hatest.Node, sig unix.Signal) error {
	for _, pid := range family(r.procs[n.Name].Pid()) {
		if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal %v to %d: %w", sig, pid, err)
		}
	}
	return nil
}

// pids are all processes of the contender on a node.
func (r *rig) pids(node string) []int {
	all := family(r.procs[node].Pid())
	if t := r.beside[node]; t != nil {
		all = append(all, t.Pid())
	}
	return all
}

// family is a process and its children.
func family(pid int) []int {
	pids := []int{pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		text, _ := os.ReadFile(t) // of one that ended: none
		for _, f := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(f); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}
