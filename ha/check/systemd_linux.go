package check

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kvmctl/internal/proc"
	"kvmctl/internal/systemd"
)

// Probe implements Spec.
func (s Systemd) Probe(env Env) (Probe, error) {
	if env.Bus == nil {
		return nil, fmt.Errorf("watch %s: %w", s.Unit, errNoBus)
	}
	return &systemdProbe{spec: s, bus: env.Bus}, nil
}

type systemdProbe struct {
	spec Systemd
	bus  *systemd.Bus
	stop func()        // of the bus's watch
	main *proc.Process // the unit's, while it has one

	mu      sync.Mutex
	changed func()
	watch   sync.WaitGroup
}

func (p *systemdProbe) Push(changed func()) {
	p.mu.Lock()
	p.changed = changed
	p.mu.Unlock()
	p.stop = p.bus.Watch(p.spec.Unit, changed)
}

func (p *systemdProbe) Close() {
	if p.stop != nil {
		p.stop()
	}
	p.drop()
	p.watch.Wait()
}

func (p *systemdProbe) drop() {
	if p.main != nil {
		p.main.Close()
		p.main = nil
	}
}

// answerWithin is how long PID 1 has to answer before the main process is asked instead, as a part of the check's timeout.
const answerWithin = 2 // half of it

func (p *systemdProbe) Ask(ctx context.Context) error {
	busCtx := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		busCtx, cancel = context.WithTimeout(ctx, time.Until(deadline)/answerWithin)
		defer cancel()
	}
	s, err := p.bus.State(busCtx, p.spec.Unit)
	switch {
	case errors.Is(err, systemd.ErrSilent):
		return p.withoutSystemd()
	case err != nil:
		return err
	}
	err = judge(p.spec.Unit, s)
	if err != nil || s.MainPID == 0 {
		p.drop()
	} else {
		p.hold(s.MainPID)
	}
	return err
}

// Glance implements Glancer.
func (p *systemdProbe) Glance(inARow int) bool {
	if inARow >= glances {
		return false
	}
	s, ok := p.bus.Known(p.spec.Unit)
	return ok && judge(p.spec.Unit, s) == nil && (s.MainPID == 0 || p.main != nil && p.main.PID == s.MainPID && !p.main.Ended())
}

// withoutSystemd judges by the main process alone.
func (p *systemdProbe) withoutSystemd() error {
	switch {
	case p.main == nil:
		return &UnseenError{fmt.Sprintf("systemd does not answer, and no main process of %s is known", p.spec.Unit)}
	case p.main.Ended():
		return &CertainError{fmt.Sprintf("process %d of %s has ended, and systemd does not answer", p.main.PID, p.spec.Unit)}
	}
	return nil
}

// hold keeps the main process, whose end has the unit asked about at once, whatever becomes of the connection to PID 1.
func (p *systemdProbe) hold(pid int) {
	if p.main != nil && p.main.PID == pid && !p.main.Ended() {
		return
	}
	p.drop()
	h, err := proc.Open(pid)
	if err != nil {
		return // it ended since, which the next message tells
	}
	p.main = h
	p.watch.Go(func() {
		if !h.Wait() {
			return
		}
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if changed != nil {
			changed()
		}
	})
}
