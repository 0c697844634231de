package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Leases holds addresses on the kernel's terms: they end by themselves unless Turn is called in time. A goroutine of its own speaks to the
// kernel, so that a caller of Turn never waits for it longer than it says.
type Leases struct {
	clock func() time.Time
	work  chan func(*rtnl)
	quit  chan struct{}
	done  sync.WaitGroup
	stop  func()

	glance  map[netip.Addr]bool // all addresses of this machine, a moment ago; the goroutine's
	glanced time.Time

	mu   sync.Mutex
	book Book
	lost []Lost
	err  error // of the last refresh
	busy bool  // a refresh is under way
}

// OpenLeases begins in the calling thread's network namespace. clock is CLOCK_BOOTTIME, or a model of it.
func OpenLeases(clock func() time.Time) (*Leases, error) {
	r, err := openRTNL(0)
	if err != nil {
		return nil, err
	}
	l := &Leases{clock: clock, work: make(chan func(*rtnl)), quit: make(chan struct{})}
	l.stop = sync.OnceFunc(func() { close(l.quit) })
	l.done.Go(func() {
		defer r.close()
		for {
			select {
			case f := <-l.work:
				f(r)
			case <-l.quit:
				return
			}
		}
	})
	return l, nil
}

// Close ends the refreshes. Addresses that are held go by themselves, within their lifetime; or Held goes to the process that follows.
func (l *Leases) Close() error {
	l.stop()
	l.done.Wait()
	return nil
}

// errClosed says that Close was called.
var errClosed = errors.New("the leases are closed")

// run has the goroutine do f, and waits for it.
func (l *Leases) run(ctx context.Context, f func(*rtnl) error) error {
	result := make(chan error, 1)
	select {
	case l.work <- func(r *rtnl) {
		if err := context.Cause(ctx); err != nil {
			result <- err // nobody waits any more
			return
		}
		result <- f(r)
	}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.quit:
		return errClosed
	}
	return <-result // the kernel has its own bound, answerTime
}

// Held gives what is held now.
func (l *Leases) Held() []Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book.Held()
}

// Adopt takes over what another process of this boot held; if it is too late for one, the next Turn says that it is lost.
func (l *Leases) Adopt(held ...Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range held {
		l.book.Add(h)
	}
}

// Next is when Turn wants to be called again; zero: nothing is held.
func (l *Leases) Next() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.book.Next()
}

// Take adds an address to an interface, for the lifetime of a lease. *PresentError: this machine has it already, on whichever interface,
// and not by a lease that was left behind; ENODEV: there is no such interface.
func (l *Leases) Take(ctx context.Context, name string, addr netip.Addr) error {
	err := l.run(ctx, func(r *rtnl) error { return l.take(ctx, r, name, addr) })
	if err != nil {
		return fmt.Errorf("add address %s to %s: %w", addr, name, err)
	}
	return nil
}

func (l *Leases) take(ctx context.Context, r *rtnl, name string, addr netip.Addr) error {
	state, err := r.lookup(name)
	if err != nil {
		return err
	}
	index := state.Index
	l.mu.Lock()
	held := l.book.find(index, addr) >= 0
	terms := TermsFor(len(l.book.held) + 1)
	l.mu.Unlock()
	if held {
		return nil
	}
	if err := l.makeRoom(r, addr); err != nil {
		return err
	}
	before := l.clock()
	answers, err := r.lease(unix.NLM_F_EXCL, terms.Lifetime, []Held{{Index: index, Addr: addr}})
	if errors.Is(err, unix.EEXIST) { // it came a moment ago
		l.glance = nil
		if err := l.makeRoom(r, addr); err != nil {
			return err
		}
		before = l.clock()
		answers, err = r.lease(unix.NLM_F_EXCL, terms.Lifetime, []Held{{Index: index, Addr: addr}})
	}
	if err != nil {
		return err
	}
	if context.Cause(ctx) != nil || len(answers) != 1 {
		return errors.Join(context.Cause(ctx), r.remove(name, index, netip.PrefixFrom(addr, addr.BitLen())))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book.Add(Held{name, index, addr, answers[0].Born, before, terms.Lifetime})
	return nil
}

// Drop deletes an address that is held, or was. That it is not there is as good. After it has returned no refresh is under way that could
// bring it back.
func (l *Leases) Drop(ctx context.Context, name string, addr netip.Addr) error {
	// Whatever becomes of the rest, no refresh of it begins from now on.
	l.mu.Lock()
	for _, h := range l.book.Held() {
		if h.Interface == name && h.Addr == addr {
			l.book.Drop(h.Index, addr)
		}
	}
	l.mu.Unlock()
	return l.run(ctx, func(r *rtnl) error {
		found, err := r.find([]netip.Addr{addr})
		if err != nil {
			return fmt.Errorf("delete address %s from %s: %w", addr, name, err)
		}
		var errs []error
		for _, p := range found {
			if p.Leased && p.Interface == name {
				errs = append(errs, r.remove(name, p.Index, p.Prefix))
			}
		}
		return errors.Join(errs...)
	})
}

// Turn refreshes everything that is held, by one message to the kernel, if that is due, and waits at most so long for the answer: a later
// one is there at the next turn. It gives what was lost since the last turn, which is deleted if it is still there. The error is the
// kernel's, of the last refresh that it answered; it will be tried again.
func (l *Leases) Turn(wait time.Duration) ([]Lost, error) {
	finished := make(chan struct{})
	l.mu.Lock()
	now := l.clock()
	l.lost = append(l.lost, l.book.Expire(now)...) // also when the last refresh is still under way
	next := l.book.Next()
	begin := !l.busy && len(l.book.held) > 0 && !now.Before(next)
	l.busy = l.busy || begin
	l.mu.Unlock()
	if begin {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case l.work <- func(r *rtnl) { l.refresh(r); close(finished) }:
			select {
			case <-finished:
			case <-timer.C:
			}
		case <-timer.C: // a Take or a Drop is under way
			l.mu.Lock()
			l.busy = false
			l.mu.Unlock()
		case <-l.quit:
			return nil, errClosed
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.lost
	l.lost = nil
	return lost, l.err
}

// refresh is one turn.
func (l *Leases) refresh(r *rtnl) {
	l.mu.Lock()
	before := l.clock()
	held, terms, lost := l.book.Plan(before)
	l.mu.Unlock()
	answers, err := r.lease(unix.NLM_F_REPLACE, terms.Lifetime, held)
	after := l.clock()
	l.mu.Lock()
	more, strays := l.book.Answered(before, after, terms, answers)
	l.lost = append(append(l.lost, lost...), more...)
	l.err, l.busy = err, false
	l.mu.Unlock()
	for _, h := range lost {
		_ = r.remove(h.Interface, h.Index, netip.PrefixFrom(h.Addr, h.Addr.BitLen())) // it ends by itself, too
	}
	for _, s := range strays {
		_ = r.remove("", s.Index, netip.PrefixFrom(s.Addr, s.Addr.BitLen()))
	}
}

// lease adds or refreshes addresses by one message to the kernel, and gives its answers. The error is the first that is none of these.
func (r *rtnl) lease(flags int, lifetime time.Duration, held []Held) ([]Answer, error) {
	if len(held) == 0 {
		return nil, nil
	}
	var out []byte
	waiting := map[uint32]Held{} // by the number of the message that is answered
	for _, h := range held {
		seq := r.nextSeq()
		out = append(out, leaseMessage(flags, seq, h.Index, h.Addr, lifetime)...)
		if h.Addr.Is6() { // the kernel echoes no IPv6 address: it is asked
			waiting[seq] = h
			seq = r.nextSeq()
			out = append(out, finish(addrMessage(unix.RTM_GETADDR, 0, seq, h.Index, h.Addr))...)
		}
		waiting[seq] = h
	}
	if err := r.send(out); err != nil {
		return nil, err
	}
	return r.answers(waiting, len(held))
}

// answers collects them, one for each address.
func (r *rtnl) answers(waiting map[uint32]Held, missing int) (answers []Answer, first error) {
	answered := map[Held]bool{}
	err := r.receive(func(m reply) bool {
		h, ok := waiting[m.seq]
		if !ok || answered[h] || m.typ == unix.NLMSG_ERROR && m.err == nil {
			return false
		}
		answered[h] = true
		missing--
		switch k, err := parseAddr(m.body); {
		case errors.Is(m.err, unix.ENODEV):
			answers = append(answers, Answer{Index: h.Index, Addr: h.Addr, NoLink: true})
		case m.err != nil:
			first = cmp.Or(first, m.err)
		case m.typ == unix.RTM_NEWADDR && err == nil:
			answers = append(answers, Answer{Index: h.Index, Addr: h.Addr, Born: k.born})
		}
		return missing == 0
	})
	return answers, cmp.Or(first, err)
}
