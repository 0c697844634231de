package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

// starter starts the guests of a plan.
type starter struct {
	a    *app
	s    *configs.Site
	h    *vm.Host
	plan *vm.StartPlan
	lose []string // guests whose saved state is thrown away

	backed func() []imageUse // read once, however many guests start
	mu     sync.Mutex
	runs   map[string]string // State.Run of those that run
}

// startGuests starts guests in their order, whatever they come after besides, each with a line that says what came of it.
func (a *app) startGuests(ctx context.Context, s *configs.Site, guests []*configs.Guest) error {
	return a.startPlanned(ctx, s, guests, startOptions{alone: true})
}

func (a *app) startPlanned(ctx context.Context, s *configs.Site, guests []*configs.Guest, o startOptions) error {
	st := &starter{a: a, s: s, h: a.host(s, "start"), plan: startPlan(s, guests, o), runs: map[string]string{}}
	if o.discard {
		st.lose = o.names
	}
	st.backed = sync.OnceValue(func() []imageUse { return backedUses(ctx, s) })
	if a.verbose {
		st.h.Step = func(name string) { a.env.Talk("start: %s", name) }
	}
	st.plan.Running = runningOf(st.h, st.plan.Specs)
	b := a.newBoard(st.plan)
	defer b.close()
	results := vm.StartAll(ctx, st.plan, vm.Actor{Act: st.act, Await: st.await, Show: b.show})
	return st.report(results, o)
}

// runningOf tells which of the guests that have a start_delay need none.
func runningOf(h *vm.Host, specs []*vm.Spec) map[string]bool {
	running := map[string]bool{}
	for _, spec := range specs {
		if spec.StartDelay == 0 {
			continue
		}
		if p, err := h.Running(spec.Name); err == nil {
			p.Close()
			running[spec.Name] = true
		}
	}
	return running
}

// find gives a guest of the plan; asked is false for one that is only looked at.
func (st *starter) find(name string) (spec *vm.Spec, asked bool) {
	for _, spec := range st.plan.Specs {
		if spec.Name == name {
			return spec, true
		}
	}
	for _, spec := range st.plan.Outside {
		if spec.Name == name {
			return spec, false
		}
	}
	return nil, false
}

func (st *starter) ran(name, run string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.runs[name] = run
}

// act starts a guest, or looks whether one runs that others need.
func (st *starter) act(ctx context.Context, name string) error {
	spec, asked := st.find(name)
	if !asked {
		return st.look(ctx, spec)
	}
	if err := notUnderneath(st.backed(), spec); err != nil {
		return err
	}
	started, err := st.h.StartFrom(ctx, spec, vm.Origin{Discard: slices.Contains(st.lose, name)})
	if err != nil {
		return st.a.orMounted(err)
	}
	st.ran(name, started.State.Run)
	if started.Already {
		return st.a.sayAlready(ctx, st.h, name, started)
	}
	st.a.sayStarted(name, started)
	return nil
}

// startingTime bounds the wait for a guest that another kvmctl is starting.
const startingTime = time.Minute

// look says why a guest that nobody asked to start is of no use for those that come after it. One that is being started is waited for.
func (st *starter) look(ctx context.Context, spec *vm.Spec) error {
	now := st.h.Status(ctx, []string{spec.Name})[0]
	if now.State == vm.StateStarting {
		one, cancel := context.WithTimeout(ctx, startingTime)
		defer cancel()
		if err := st.h.Await(one, spec.Name, st.h.CheckRunning(spec.Name)); err != nil {
			return fmt.Errorf("is being started: %w", err)
		}
		now = st.h.Status(ctx, []string{spec.Name})[0]
	}
	if now.State != vm.StateRunning {
		return &vm.NotRunningError{State: now.State, Note: now.Note}
	}
	if now.StateOf != nil {
		st.ran(spec.Name, now.StateOf.Run)
	}
	return nil
}

// await waits until a guest is ready by its sign.
func (st *starter) await(ctx context.Context, name string) error {
	spec, _ := st.find(name)
	check, said, done, err := st.a.signCheck(st.s, st.h, name, spec.Ready)
	if err != nil {
		return err
	}
	defer done()
	st.mu.Lock()
	run := st.runs[name]
	st.mu.Unlock()
	began := time.Now()
	if err := st.h.AwaitRun(ctx, name, run, st.h.Noting(name, spec.Ready, check)); err != nil {
		return fmt.Errorf("%s: %w", spec.Ready, err)
	}
	st.a.env.Talk("%s is ready, after %s: it %s", name, cli.Age(time.Since(began)), said())
	return nil
}

// report words what was not done.
func (st *starter) report(results []vm.Result, o startOptions) error {
	var errs []error
	var unstarted []string
	for i, job := range st.plan.Jobs() {
		r := results[i]
		spec, asked := st.find(job.Name)
		switch {
		case !asked:
		case errors.Is(r.Err, context.Canceled):
			unstarted = append(unstarted, job.Name)
		case r.Err != nil:
			st.h.NoteFailedStart(job.Name, r.Err)
			errs = append(errs, startError(job.Name, r.Err))
		case r.Ready != nil && o.wait:
			errs = append(errs, waitError(job.Name, goal{goalReady, spec.Ready}, r.Ready))
		}
	}
	if len(unstarted) > 0 {
		errs = append(errs, cli.Failed("kvmctl status; the same start again goes on from here",
			"cannot start %s: interrupted; what runs goes on running", strings.Join(unstarted, ", ")))
	}
	return errors.Join(errs...)
}

// startError words a guest that was not started, with what to type next.
func startError(name string, err error) error {
	var need *vm.NeedError
	var ended *vm.EndedError
	if !errors.As(err, &need) {
		return permission(fmt.Errorf("cannot start %s: %w", name, err))
	}
	hint := ""
	switch {
	case need.Outside && need.Result.Err != nil:
		hint = "kvmctl start " + name + " --with-needs; without it: kvmctl start " + name + " --no-wait"
	case errors.As(need.Result.Ready, &ended):
		hint = "kvmctl log " + need.Need
	case need.Result.Err == nil:
		hint = "kvmctl wait " + need.Need + " --for ready; then the same start again"
	}
	return cli.Failed(hint, "cannot start %s: %w", name, err)
}
