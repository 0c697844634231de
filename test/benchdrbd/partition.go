package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kvmctl/test/drbdlab"
)

// How long both cables are cut, and how long is looked on after they are whole again.
const (
	partedFor = 20 * time.Second
	healedFor = 15 * time.Second
)

// parting is a partition with a client that writes on each side.
type parting struct {
	both   time.Duration // two primaries that could write
	frozen time.Duration // two primaries, of which one could not
	acked  [2]int        // lines, by A's client and by B's
	split  bool          // DRBD is StandAlone afterwards: one side's data have to be discarded
	lost   [2]int        // lines that are gone when A's data are discarded, or B's; where nothing is, both are what is gone already
	states string        // of DRBD at the end
}

func (b *bench) partitions(ctx context.Context) error {
	for _, c := range b.contenders() {
		if c.name == "kvmha, fence" || strings.HasSuffix(c.name, "0.1 s") { // the same in other words
			continue
		}
		x, err := b.partition(ctx, c)
		if err != nil {
			b.report.note("partition, %s: %v.", c.name, err)
			say("partition, %s: %v", c.name, err)
			if ctx.Err() != nil {
				return err
			}
			continue
		}
		b.report.partings = append(b.report.partings, namedParting{c.name, x})
		say("partition, %s: %+v", c.name, x)
	}
	return nil
}

func (b *bench) partition(ctx context.Context, c *contender) (x parting, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.patience)
	defer cancel()
	s, err := b.stage(ctx, c)
	if err != nil {
		return x, err
	}
	defer func() {
		if err != nil {
			s.explain(err)
		}
		s.close()
	}()
	clA, stopA, err := s.client(ctx, "10.90.0.1:7000")
	if err != nil {
		return x, err
	}
	defer stopA()
	clB, stopB, err := s.client(ctx, "10.90.0.2:7000")
	if err != nil {
		return x, err
	}
	defer stopB()
	if err := until(ctx, "the client is served", func() bool { return len(clA.all()) > 20 }); err != nil {
		return x, err
	}
	if err := s.part(true); err != nil {
		return x, err
	}
	parted := time.Now()
	off := map[*drbdlab.Guest]bool{}
	err = until(ctx, "it was cut for long", func() bool {
		for _, g := range []*drbdlab.Guest{s.A, s.B} { // the PDU: whoever asks first lives
			if other := s.other(g); c.fenced && !off[s.A] && !off[s.B] && s.facts[g].is("asked") {
				other.PowerCut()
				off[other] = true
				if _, e := g.Sh(ctx, ": >/run/pdu.off"); e != nil {
					err = e
				}
			}
		}
		return time.Since(parted) > partedFor
	})
	if err != nil {
		return x, err
	}
	if err := s.part(false); err != nil {
		return x, err
	}
	healed := time.Now()
	if err := until(ctx, "it was whole for long", func() bool { return time.Since(healed) > healedFor }); err != nil {
		return x, err
	}
	stopA()
	stopB()
	end, ofA, ofB := time.Now(), s.facts[s.A].events(), s.facts[s.B].events()
	x.both = together(ofA, ofB, "writes", end)
	x.frozen = together(ofA, ofB, "primary", end) - x.both
	return x, s.account(ctx, &x, clA.all(), clB.all(), off)
}

// part cuts both cables, or makes them whole.
func (s *stage) part(apart bool) error {
	if err := part(apart); err != nil {
		return err
	}
	return s.Pass(1, !apart)
}

// account says what became of the lines.
func (s *stage) account(ctx context.Context, x *parting, ofA, ofB []ack, off map[*drbdlab.Guest]bool) error {
	all := append(append([]ack(nil), ofA...), ofB...)
	x.acked = [2]int{len(ofA), len(ofB)}
	files, alone, kept := [2]string{}, 0, -1
	for i, g := range []*drbdlab.Guest{s.A, s.B} {
		if off[g] {
			x.states += g.Name + ": off; "
			kept = 1 - i
			continue
		}
		state, err := g.Sh(ctx, "echo $(drbdadm cstate r0) $(drbdadm role r0) $(drbdadm dstate r0)")
		if err != nil {
			return err
		}
		x.states += fmt.Sprintf("%s: %s; ", g.Name, strings.TrimSpace(state))
		if strings.Contains(state, "StandAlone") {
			alone++
		}
		if files[i], err = s.file(ctx, g); err != nil {
			return err
		}
	}
	x.states = strings.TrimSuffix(x.states, "; ")
	x.split = alone > 0
	x.lost = [2]int{len(lost(all, files[1])), len(lost(all, files[0]))}
	if kept >= 0 { // the other one has no data to choose
		gone := len(lost(all, files[kept]))
		x.split, x.lost = false, [2]int{gone, gone}
	} else if !x.split { // DRBD has made them the same, or is about to take those of the side that serves
		gone := min(x.lost[0], x.lost[1])
		x.lost = [2]int{gone, gone}
	}
	return nil
}
