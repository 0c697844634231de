package check

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kvmctl/internal/proc"
)

// Probe implements Spec.
func (s Process) Probe(Env) (Probe, error) { return &processProbe{spec: s}, nil }

// processProbe holds a pidfd of the process from one question to the next: its number cannot become somebody else's in between.
type processProbe struct {
	spec Process
	held *proc.Process // nil: none was found yet, or it ended

	mu      sync.Mutex
	changed func()
	ended   time.Time     // of the process that was held last; zero: it never was
	last    int           // its number
	noted   *proc.Process // whose end it was
	timer   *time.Timer
	closed  bool
	watch   sync.WaitGroup
}

func (p *processProbe) Push(changed func()) { p.mu.Lock(); defer p.mu.Unlock(); p.changed = changed }

func (p *processProbe) Close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.drop()
	p.watch.Wait()
}

func (p *processProbe) drop() {
	if p.held != nil {
		p.held.Close()
		p.held = nil
	}
}

// Ask costs six system calls while the process lives.
func (p *processProbe) Ask(context.Context) error {
	if p.held != nil {
		if p.held.Ended() {
			p.noteEnd(p.held)
			p.drop()
		} else if p.spec.PIDFile != "" {
			if pid, err := proc.ReadPIDFile(p.spec.PIDFile); err == nil && pid != p.held.PID {
				p.drop() // there is a new one; what becomes of the old one does not matter
			}
		}
	}
	if p.held == nil {
		h, err := p.spec.find()
		if err != nil {
			return p.missing(err)
		}
		p.hold(h)
	}
	st, err := proc.ReadStat(p.held.PID)
	switch {
	case err != nil || st.State == 'Z' || st.State == 'X':
		p.noteEnd(p.held)
		return p.missing(fmt.Errorf("process %d has ended", p.held.PID))
	case st.State == 'T':
		return fmt.Errorf("process %d (%s) is stopped: kill -CONT %d", p.held.PID, st.Name, p.held.PID)
	}
	return nil
}

// Glance implements Glancer.
func (p *processProbe) Glance(inARow int) bool {
	if p.held == nil || inARow >= glances {
		return false
	}
	state, err := p.held.State()
	return err == nil && state != 'T' && state != 'Z' && state != 'X'
}

// missing says that there is no process. That is a fact unless there was one a moment ago.
func (p *processProbe) missing(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Since(p.ended)
	switch {
	case p.ended.IsZero():
		return &CertainError{err.Error()}
	case since < quickRestart-10*time.Millisecond: // a timer may come a little early by the other clock
		return fmt.Errorf("process %d has just ended", p.last)
	}
	return &CertainError{fmt.Sprintf("process %d ended %v ago: %v", p.last, since.Round(100*time.Millisecond), err)}
}

// hold keeps a process and has its end told.
func (p *processProbe) hold(h *proc.Process) {
	p.held = h
	p.watch.Go(func() {
		if h.Wait() {
			p.noteEnd(h)
		}
	})
}

// noteEnd notes once that a process has ended, and has the question asked when that may be called a fact.
func (p *processProbe) noteEnd(h *proc.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noted == h {
		return
	}
	p.noted, p.ended, p.last = h, time.Now(), h.PID
	if !p.closed && p.changed != nil {
		p.timer = time.AfterFunc(quickRestart, p.changed)
	}
}

// find opens the process that a Process means.
func (s Process) find() (*proc.Process, error) {
	if s.PIDFile == "" {
		return proc.Named(s.Name)
	}
	return proc.OfPIDFile(s.PIDFile, s.Name)
}
