package mount

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/proc"
)

const (
	grace     = 2 * time.Second // of a holder, after SIGTERM
	killGrace = time.Second     // after SIGKILL: one that is still there then waits for I/O
	pollEvery = 5 * time.Millisecond
)

// victim is a process that is being ended.
type victim struct {
	Holder
	process *proc.Process
}

// end ends holders, and returns when they have ended or nothing more can be done. Each is looked at again when it cannot become another one
// any more: what has its number now may be innocent.
func (x *Mounter) end(ctx context.Context, t *target, holders []Holder, r *report) {
	var all []victim
	for _, h := range holders {
		if h.PID <= 1 || h.PID == os.Getpid() {
			continue
		}
		p, err := proc.Open(h.PID)
		if err != nil {
			continue
		}
		defer p.Close()
		if u := t.look(h.PID); len(u.open) == 0 && len(u.raw) == 0 && t.lives(u) == "" {
			continue
		}
		all = append(all, victim{h, p})
	}
	g := x.Grace
	if g == 0 {
		g = grace
	}
	all = x.send(ctx, all, unix.SIGTERM, g, Ended, r)
	for _, v := range x.send(ctx, all, unix.SIGKILL, killGrace, Killed, r) {
		v.Fate = Immortal
		r.saw([]Holder{v.Holder})
	}
}

// send signals the victims and waits for their end; it gives those that live on.
func (x *Mounter) send(ctx context.Context, all []victim, sig unix.Signal, d time.Duration, fate Fate, r *report) (live []victim) {
	for _, v := range all {
		_ = x.here.signal(v.process, sig) // whether it helped is seen below
	}
	for end := time.Now().Add(d); ; {
		live = live[:0:0]
		for _, v := range all {
			if v.process.Ended() {
				v.Fate = fate
				r.saw([]Holder{v.Holder})
			} else {
				live = append(live, v)
			}
		}
		if all = live; len(all) == 0 || time.Now().After(end) || !wait(ctx, pollEvery) {
			return all
		}
	}
}
