package main

import (
	"context"
	"fmt"
	"time"

	"kvmctl/test/drbdlab"
)

// recovery is how long a split brain lasted after the cable was whole again.
type recovery struct {
	found time.Duration // until both are StandAlone, which is how DRBD says it
	whole time.Duration // until both are UpToDate, from the heal
}

// percents of the blocks are different, half of them written by each side.
var percents = []int{1, 50}

func (b *bench) recoveries(ctx context.Context) error {
	for range b.o.runs {
		for i, percent := range percents {
			for _, way := range []struct {
				name string
				do   func(context.Context, int) (recovery, error)
				into *[]recovery
			}{{"by hand", b.byHand, &b.report.byHand[i]}, {"by kvmha", b.byCommand, &b.report.byCommand[i]}} {
				x, err := way.do(ctx, percent)
				if err != nil {
					return fmt.Errorf("%s, %d %% of the blocks: %w", way.name, percent, err)
				}
				*way.into = append(*way.into, x)
				say("recovery %s, %d %% of the blocks: %+v", way.name, percent, x)
			}
		}
	}
	return nil
}

// byHand is the floor: drbdadm's recipe (users-guide-8.4, s-resolve-split-brain), typed without a thought.
func (b *bench) byHand(ctx context.Context, percent int) (x recovery, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	s, err := b.stage(ctx, &contender{name: "drbdadm", dir: "/srv", drbd: bare, logs: ":"})
	if err != nil {
		return x, err
	}
	defer s.close()
	if err := s.diverge(ctx, percent); err != nil {
		return x, err
	}
	began := time.Now()
	if err := s.Pass(1, true); err != nil {
		return x, err
	}
	if err := s.Both(func(g *drbdlab.Guest) error { return g.Until(ctx, "drbdadm cstate r0 | grep -q StandAlone") }); err != nil {
		return x, err
	}
	x.found = time.Since(began)
	if _, err := s.B.Sh(ctx, "drbdadm secondary r0; drbdadm connect --discard-my-data r0"); err != nil {
		return x, err
	}
	if _, err := s.A.Sh(ctx, "drbdadm connect r0"); err != nil {
		return x, err
	}
	err = s.UpToDate(ctx)
	x.whole = time.Since(began)
	return x, err
}

// byCommand is kvmha's, with the service going on at A: the agents find it, the command is typed at once, the loser's disk is kept whole, into memory, and then
// resynced.
func (b *bench) byCommand(ctx context.Context, percent int) (x recovery, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	s, err := b.stage(ctx, kvmha("kvmha, arbiter", false))
	if err != nil {
		return x, err
	}
	defer s.close()
	if _, err := s.B.Sh(ctx, "kill -9 $(cat /run/kvmha.pid); mkdir -p /keep; mount -t tmpfs -o size=100m none /keep"); err != nil {
		return x, err
	}
	if err := s.Pass(1, false); err != nil {
		return x, err
	}
	if err := s.A.Until(ctx, "grep -q '\"alone\"' /var/lib/kvmha/right/varda*"); err != nil {
		return x, err
	}
	blocks := drbdlab.DiskSize / 4096 * percent / 100 / 2
	if _, err := s.A.Sh(ctx, fmt.Sprintf("dd if=/dev/urandom of=/srv/big bs=4k count=%d conv=fsync 2>/dev/null", blocks)); err != nil {
		return x, err
	}
	// A person who is wrong, and forces it.
	if _, err := s.B.Sh(ctx, fmt.Sprintf("drbdadm primary --force r0; dd if=/dev/urandom of=/dev/drbd0 bs=4k seek=%d count=%d conv=notrunc,fsync 2>/dev/null; drbdadm secondary r0",
		drbdlab.DiskSize/4096-100-blocks, blocks)); err != nil {
		return x, err
	}
	if err := s.agents.Start(ctx, s.B); err != nil {
		return x, err
	}
	began := time.Now()
	if err := s.Pass(1, true); err != nil {
		return x, err
	}
	if err := s.Both(func(g *drbdlab.Guest) error {
		return g.Until(ctx, "kvmha status varda | grep -q 'kvmha drbd resolve r0'")
	}); err != nil {
		return x, err
	}
	x.found = time.Since(began)
	if _, err := s.A.Sh(ctx, "kvmha drbd resolve r0 --keep varda2 --keep-in /keep --yes"); err != nil {
		return x, err
	}
	err = s.UpToDate(ctx)
	x.whole = time.Since(began)
	return x, err
}

// diverge has both sides primary without each other, with as many of their blocks different.
func (s *stage) diverge(ctx context.Context, percent int) error {
	if err := s.Pass(1, false); err != nil {
		return err
	}
	if err := s.Both(func(g *drbdlab.Guest) error { return g.Until(ctx, "drbdadm cstate r0 | grep -q WFConnection") }); err != nil {
		return err
	}
	blocks := drbdlab.DiskSize / 4096 * percent / 100 / 2
	return s.Both(func(g *drbdlab.Guest) error {
		from := 1000
		if g == s.B {
			from += blocks
		}
		if from+blocks > drbdlab.DiskSize/4096-100 { // metadata
			from = drbdlab.DiskSize/4096 - 100 - blocks
		}
		_, err := g.Sh(ctx, fmt.Sprintf("drbdadm primary r0; dd if=/dev/urandom of=/dev/drbd0 bs=4k seek=%d count=%d conv=notrunc,fsync 2>/dev/null", from, blocks))
		return err
	})
}
