package ha

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvmctl/ha/check"
	"kvmctl/ha/failover"
	"kvmctl/internal/child"
)

// Times of the questions who has an address.
const (
	probeWait  = 100 * time.Millisecond // a LAN answers within a few, a busy machine on it later
	letGoWait  = 12 * time.Millisecond  // from the old master's last answer nobody serves for so long
	letGoEvery = 5 * time.Millisecond
)

// checksLook is how often a step that waits for green checks looks at them.
const checksLook = 20 * time.Millisecond

// beginStep gives a step to the group's worker.
func (a *Agent) beginStep(g *group, s failover.Step) {
	act, err := a.actOf(g, s)
	if err == nil {
		err = g.worker.Begin(job{s.ID, s.Kind.String() + " " + s.Name, s.Timeout, act})
	}
	if err == nil && s.Kind == failover.KindRestart {
		a.restarting(g, s)
	}
	if err != nil {
		a.stepDone(g, s.ID, err)
	}
}

// errNoUnit says that a step is about something that the group does not have.
var errNoUnit = errors.New("the group has no such unit")

// actOf gives what carries out a step. It runs beside the loop, and touches nothing of it.
func (a *Agent) actOf(g *group, s failover.Step) (func(context.Context) error, error) {
	if g.keeper != nil {
		if act := g.keeper.Act(s); act != nil {
			return act, nil
		}
	}
	u, known := g.units[s.Name]
	hook := func(argv []string) (func(context.Context) error, error) { return a.hook(g.spec, s, argv), nil }
	switch s.Kind {
	case failover.KindProbe:
		return a.probe(g.spec), nil
	case failover.KindLetGo:
		return a.yielded(g.spec), nil
	case failover.KindChecks:
		return a.green(g, s.Timeout), nil
	case failover.KindHookActive:
		return hook(g.spec.Hooks.Active)
	case failover.KindHookStandby:
		return hook(g.spec.Hooks.Standby)
	case failover.KindHookWaiting:
		return hook(g.spec.Hooks.Waiting)
	case failover.KindStart, failover.KindStop, failover.KindKill, failover.KindRestart:
		if !known {
			return nil, fmt.Errorf("%s %s: %w", s.Kind, s.Name, errNoUnit)
		}
	default:
		return nil, fmt.Errorf("%s is no step of a worker's", s.Kind)
	}
	switch s.Kind {
	case failover.KindStart:
		return u.Start, nil
	case failover.KindStop:
		return u.Stop, nil
	case failover.KindKill:
		return u.Kill, nil
	}
	return func(ctx context.Context) error {
		if err := u.Stop(ctx); err != nil {
			return err
		}
		return u.Start(ctx)
	}, nil
}

// errTaken says that a stranger has an address. However late it is known, it is known.
var errTaken = errors.New("answers")

// probe asks for each address.
func (a *Agent) probe(spec Group) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, addr := range spec.Addresses {
			owner, err := a.Network.Probe(ctx, spec.Interface, addr, probeWait)
			if err != nil {
				return fmt.Errorf("ask for %s: %w", addr, err)
			}
			if owner != "" {
				return fmt.Errorf("%s %w for %s", owner, errTaken, addr)
			}
		}
		return nil
	}
}

// yielded waits until a master that yields answers no more. It deletes all addresses at once, so that the first one says it for all.
func (a *Agent) yielded(spec Group) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, addr := range spec.Addresses[:min(1, len(spec.Addresses))] {
			for {
				owner, err := a.Network.Probe(ctx, spec.Interface, addr, letGoWait)
				if err != nil {
					return fmt.Errorf("ask for %s: %w", addr, err)
				}
				if owner == "" {
					break
				}
				select {
				case <-ctx.Done():
					return fmt.Errorf("%s still %w for %s", owner, errTaken, addr)
				case <-time.After(letGoEvery):
				}
			}
		}
		return nil
	}
}

// green has every check that moves the group looked at anew until all are green.
func (a *Agent) green(g *group, timeout time.Duration) func(context.Context) error {
	a.activeChecks(g, true)
	names := map[string]bool{}
	for _, c := range g.spec.Checks {
		if !c.Type.TellsOnly() {
			names[g.spec.CheckName(c)] = true
		}
	}
	return func(ctx context.Context) error {
		for name := range names {
			if err := a.checks.Afresh(name, timeout); err != nil {
				return err
			}
		}
		t := time.NewTicker(checksLook)
		defer t.Stop()
		for {
			var open error
			for _, s := range a.checks.All() {
				if names[s.Name] && s.State != check.Green {
					open = errors.Join(open, fmt.Errorf("check %s is %s: %s", s.Name, s.State, s.Reason))
				}
			}
			if open == nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", context.Cause(ctx), open)
			case <-t.C:
			}
		}
	}
}

// hook runs an admin's program.
func (a *Agent) hook(spec Group, s failover.Step, argv []string) func(context.Context) error {
	node := a.Spec.Node
	return func(ctx context.Context) error {
		r, err := child.Run(ctx, child.Command{Argv: argv, Grace: child.DefaultGrace, Leave: true, Env: []string{
			"KVMHA_NODE=" + node, "KVMHA_GROUP=" + spec.Name, "KVMHA_INTERFACE=" + spec.Interface, "KVMHA_EVENT=" + s.Kind.String(), "KVMHA_REASON=" + s.Why,
		}})
		if err != nil {
			return err
		}
		return r.Err()
	}
}
