package drbdlab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kvmctl/test/drbdlab/wire"
)

// Scribe writes numbered lines on the share, each fsynced before it says so, and keeps what was acknowledged.
type Scribe struct {
	mu    sync.Mutex
	acked []int
	at    []time.Time
	rest  string
}

// Write takes what the writer in a guest prints.
func (s *Scribe) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest += string(b)
	for {
		line, rest, whole := strings.Cut(s.rest, "\n")
		if !whole {
			return len(b), nil
		}
		s.rest = rest
		if n, err := strconv.Atoi(line); err == nil {
			s.acked, s.at = append(s.acked, n), append(s.at, time.Now())
		}
	}
}

// Acked is how many lines were acknowledged.
func (s *Scribe) Acked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// FirstAfter is how long after a moment the first line was acknowledged; those of the first half second were on their way already. Zero: none.
func (s *Scribe) FirstAfter(began time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.at {
		if d := t.Sub(began); d > 500*time.Millisecond {
			return d
		}
	}
	return 0
}

// On has a guest write until ctx ends, or the guest, or the share.
func (s *Scribe) On(ctx context.Context, g *Guest) {
	s.mu.Lock()
	from := 1
	if n := len(s.acked); n > 0 {
		from = s.acked[n-1] + 1000 // what was on its way may be there or not
	}
	s.rest = ""
	s.mu.Unlock()
	p, err := g.inside()
	if err != nil {
		return
	}
	script := fmt.Sprintf("grep -q ' /srv ' /proc/mounts || exit 1; i=%d; while echo $i | dd of=/srv/lines oflag=append conv=notrunc,fsync 2>/dev/null; do echo $i; i=$((i+1)); done", from)
	_, _ = p.Exec(ctx, wire.Command{Argv: []string{"sh", "-c", script}}, s) // it ends as whoever runs it has it end
}

// Lost gives what was acknowledged and is not on the share of a guest.
func (s *Scribe) Lost(ctx context.Context, g *Guest) (lost []int, err error) {
	text, err := g.Sh(ctx, "cat /srv/lines")
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for line := range strings.Lines(text) {
		there[strings.TrimSpace(line)] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.acked {
		if !there[strconv.Itoa(n)] {
			lost = append(lost, n)
		}
	}
	if len(s.acked) == 0 {
		return nil, errors.New("nothing was ever acknowledged")
	}
	return lost, nil
}

// Staggered cuts the power of one or the other in a random order, and gives it back, while whoever is active writes; at the end both have power. Then one is
// active, both have the same data, and nothing that was acknowledged is lost. say is told each event. again boots a guest with its agent.
func (a *Agents) Staggered(ctx context.Context, seed uint64, again func(context.Context, *Guest) error, say func(string, ...any)) error {
	r := rand.New(rand.NewPCG(seed, seed))
	guests := []*Guest{a.A, a.B}
	var s Scribe
	pause := func() { // mostly short: what was begun is cut short, too
		d := time.Duration(r.IntN(1500)) * time.Millisecond
		if r.IntN(3) > 0 {
			d += 6 * time.Second // a takeover fits in
		}
		write, stop := context.WithTimeout(ctx, d)
		defer stop()
		var writers sync.WaitGroup
		for _, g := range guests {
			writers.Go(func() {
				for write.Err() == nil {
					s.On(write, g) // only where it is mounted
					select {
					case <-write.Done():
					case <-time.After(100 * time.Millisecond):
					}
				}
			})
		}
		writers.Wait()
	}
	pause()
	for range 3 + r.IntN(3) {
		g := guests[r.IntN(2)]
		if g.On() {
			say("%s loses its power; %d lines so far", g.Name, s.Acked())
			g.PowerCut()
		} else {
			say("%s is powered on", g.Name)
			if err := again(ctx, g); err != nil {
				return err
			}
		}
		pause()
		if err := a.AtMostOnePrimary(ctx); err != nil {
			return err
		}
	}
	for _, g := range guests {
		if g.On() {
			continue
		}
		say("%s is powered on at the end", g.Name)
		if err := again(ctx, g); err != nil {
			return err
		}
	}
	active, err := a.Active(ctx)
	if err != nil {
		return err
	}
	if err := a.UpToDate(ctx); err != nil {
		return err
	}
	lost, err := s.Lost(ctx, active)
	if err == nil && len(lost) > 0 {
		err = fmt.Errorf("acknowledged and lost: %v", lost)
	}
	say("%s is active; %d lines", active.Name, s.Acked())
	return err
}

// Active waits until one of the two is active and the other one stands by.
func (a *Agents) Active(ctx context.Context) (*Guest, error) {
	for {
		var roles []string
		for _, g := range []*Guest{a.A, a.B} {
			if s, err := a.Status(ctx, g); err == nil && len(s.Groups) == 1 {
				roles = append(roles, s.Groups[0].Role)
			} else {
				roles = append(roles, "?")
			}
		}
		if i := slices.Index(roles, "active"); i >= 0 && roles[1-i] == "standby" {
			return []*Guest{a.A, a.B}[i], nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for one that is active: %v: %w", roles, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// AtMostOnePrimary is an error if both are, of those that run.
func (a *Agents) AtMostOnePrimary(ctx context.Context) error {
	primaries := 0
	for _, g := range []*Guest{a.A, a.B} {
		if g.On() {
			if out, err := g.Sh(ctx, "cat /proc/drbd"); err == nil && strings.Contains(out, "ro:Primary") {
				primaries++
			}
		}
	}
	if primaries > 1 {
		return errors.New("both are primary")
	}
	return nil
}
