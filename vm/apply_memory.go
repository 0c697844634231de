package vm

import (
	"context"
	"errors"
	"fmt"

	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
)

// onlineHint is what a guest without an agent needs to use memory that comes while it runs.
const onlineHint = "added, not seen by the guest: boot it with memhp_default_state=online_movable"

// agentPatience is how many refusals in a row of an agent may come of memory blocks that appear while it reads their folders.
const agentPatience = 4

// agent opens the guest's agent if one listens; qmp.ErrNoAgent costs no waiting.
func (e *executor) agent(ctx context.Context) (*qmp.Agent, func(), error) {
	if !e.rec.Started.Guest.Agent || !agentOpen(ctx, e.mon) {
		return nil, nil, qmp.ErrNoAgent
	}
	return e.h.Agent(ctx, e.name)
}

// setMemory asks virtio-mem for what lies above the memory of the start, or the balloon to take from it, and waits for the guest.
func (e *executor) setMemory(ctx context.Context, o *Outcome) error {
	want := e.file.Memory
	before := e.live.Memory()
	grow := max(0, want-e.live.Base)
	var a *qmp.Agent
	var least units.Size // what the guest has to have online in the end
	// Who gives memory back is not asked: its blocks go while the agent reads them, and bringing one online would hold it.
	if want >= before {
		var closeAgent func()
		var err error
		if a, closeAgent, err = e.agent(ctx); err == nil {
			defer closeAgent()
		}
	}
	if a != nil && want > before {
		_ = a.OnlineByItself(ctx) // an agent may not be allowed to: then block by block
		m, err := a.OnlineMemory(ctx)
		if err != nil {
			a = nil // it knows no memory blocks: nobody tells
		}
		least = m.Online + newBlocks(e.live.Plugged, grow, m.Block)
	}
	if e.live.Growth > 0 {
		args := map[string]any{"path": peripheral + memoryDevice, "property": "requested-size", "value": int64(grow)}
		if err := e.mon.Execute(ctx, "qom-set", args, nil); err != nil {
			return fmt.Errorf("ask for %v: %w", want, err)
		}
	}
	if base := min(want, e.live.Base); base != e.live.Balloon {
		if err := e.mon.Execute(ctx, "balloon", map[string]any{"value": int64(base)}, nil); err != nil {
			return fmt.Errorf("ask the balloon for %v: %w", base, err)
		}
	}
	e.rec.Applied.Memory, e.rec.Applied.MemoryMax = want, e.file.MemoryMax
	var seen qmp.Memory
	inARow := 0
	followed, err := waitFor(ctx, guestTime, func(ctx context.Context) (bool, error) {
		p := prober{c: e.mon, r: e.live}
		if err := p.memory(ctx); err != nil {
			return false, err
		}
		if a != nil {
			var err error
			refused := new(qmp.Error)
			if seen, err = a.OnlineMemory(ctx); errors.As(err, &refused) && inARow < agentPatience {
				inARow++
				return false, nil
			}
			if err != nil {
				return false, fmt.Errorf("bring memory online in the guest: %w", err)
			}
			inARow = 0
		}
		// QEMU's size is there a moment before the guest has made blocks of it.
		return e.live.Memory() == want && seen.Offline == 0 && (a == nil || seen.Online >= least), nil
	})
	if refused := new(qmp.Error); errors.As(err, &refused) { // an agent that may not, or knows no memory blocks
		followed, a, err = e.live.Memory() == want, nil, nil
	}
	switch {
	case err != nil:
		return err
	case !followed && want < before:
		e.guestHasNot(o, "the guest has given back %v of %v so far", before-e.live.Memory(), before-want)
	case !followed && e.live.Memory() == want:
		e.guestHasNot(o, "the guest has %v online", seen.Online)
	case !followed:
		e.guestHasNot(o, "the guest has taken %v of %v so far", max(0, e.live.Memory()-before), want-before)
	case want < before:
		o.Note = "the guest gave it back"
	case a == nil && want > e.live.Base:
		e.unknown(o, onlineHint)
	case a != nil:
		o.Note = fmt.Sprintf("the guest has %v online", seen.Online)
	}
	return nil
}

// newBlocks gives how much the guest's memory blocks grow by when virtio-mem goes from one size to another: a block is there from its
// first byte on.
func newBlocks(from, to, block units.Size) units.Size {
	if block <= 0 || to <= from {
		return 0
	}
	up := func(s units.Size) units.Size { return (s + block - 1) / block * block }
	return up(to) - up(from)
}
