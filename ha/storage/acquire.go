package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/right"
)

// RefusedError says that a node may not go on alone.
type RefusedError struct {
	Why     string
	Command string // by which a person takes the decision; empty: none does
}

func (e *RefusedError) Error() string { return e.Why }

// Hint is that command.
func (e *RefusedError) Hint() string { return e.Command }

// Acquire makes sure that this node may write, whatever becomes of its peer: where it may not without asking, it asks, once after the other and until
// ctx ends, and writes down what came of it before it returns. A *RefusedError says why it may not.
func (k *Keeper) Acquire(ctx context.Context) (by right.Kind, err error) {
	select { // one at a time: a second one finds what the first has got
	case k.ask <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("ask for the right to go on: %w", context.Cause(ctx))
	}
	defer func() { <-k.ask }()
	changed := k.waiter()
	defer k.forget(changed)
	var tried error
	began := k.Now()
	for {
		v, asks := k.verdict()
		if v.May {
			if err := k.take(v); err != nil {
				return "", err
			}
			return v.By, nil
		}
		if v.Reason == right.ReasonPeerActive && (!k.together() || k.Now().Sub(began) < lettingGo) { // it was so a moment ago: it is not heard any more, or is about to say otherwise
			asks, tried = true, errors.New("it may still be")
		} else if !asks {
			return "", &RefusedError{v.Why, v.Override}
		} else if tried = k.askAll(ctx, v); tried == nil {
			if v, _ = k.verdict(); v.May {
				continue
			}
			tried = errors.New("the answer was for what was so before")
		}
		if lost := k.lostNow(); lost != "" {
			return "", &RefusedError{lost + ": this node may not", ""}
		}
		wait := again(tried)
		sleep(ctx, min(wait, askAtMost))
		select {
		case <-ctx.Done():
			return "", &RefusedError{fmt.Sprintf("%s: %v", v.Why, tried), v.Override}
		case <-changed:
		case <-time.After(max(0, wait-askAtMost)):
		}
	}
}

// again is how long to wait until all are asked again: not beyond the moment at which the fence may be asked.
func again(tried error) time.Duration {
	if soon, ok := errors.AsType[*tooSoonError](tried); ok {
		return min(soon.left, askAgain)
	}
	return askAgain
}

// tooSoonError says that the peer was not silent for long enough to be fenced.
type tooSoonError struct {
	peer       string
	wait, left time.Duration // in all, and from now
}

func (e *tooSoonError) Error() string {
	return fmt.Sprintf("%s is silent for less than %v: it is not fenced yet", e.peer, e.wait)
}

// together reports whether DRBD is connected: then it knows by itself who is active.
func (k *Keeper) together() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.joined.IsZero()
}

// verdict decides, and says whether there is anybody to ask. A request gets its number here.
func (k *Keeper) verdict() (v right.Verdict, asks bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.situation()
	if s.Active {
		if v = right.MayStayAlone(s); s.Connected {
			v = right.MayPromote(s)
		}
	} else {
		v = right.MayPromote(s)
	}
	if len(v.Ask) == 0 {
		return v, false
	}
	if k.inFlight == (arbiter.ID{}) || k.number != v.N {
		k.inFlight, k.number = arbiter.NewID(), v.N
	}
	for _, by := range v.Ask {
		asks = asks || k.canAsk(by)
	}
	return v, asks
}

// take writes what has to be on the disk before anything follows. What was decided is decided once more: the world may have changed meanwhile.
func (k *Keeper) take(v right.Verdict) error {
	if v.Write == nil {
		return nil
	}
	k.own.Lock()
	defer k.own.Unlock()
	if now, _ := k.verdict(); !now.May || now.Write == nil || !now.Write.Same(*v.Write) {
		return &RefusedError{"something has changed meanwhile: " + now.Why, now.Override}
	}
	if err := k.write(*v.Write); err != nil {
		return fmt.Errorf("write down that %s goes on alone: %w", k.Node, err)
	}
	k.tell()
	return nil
}

// askAll asks one after the other, and takes the first licence.
func (k *Keeper) askAll(ctx context.Context, v right.Verdict) error {
	k.mu.Lock()
	id, n := k.inFlight, k.number
	k.mu.Unlock()
	var errs []error
	for _, by := range v.Ask {
		k.mu.Lock()
		can := k.canAsk(by)
		k.mu.Unlock()
		if !can {
			continue
		}
		err := k.askOne(ctx, by, id, n)
		if err == nil {
			k.Log.Info("licence", "group", k.Group, "by", by, "request", id.String(), "n", n)
			k.mu.Lock()
			if k.inFlight == id {
				k.licence = right.Licence{Kind: by, Request: id, N: n}
			}
			k.mu.Unlock()
			return nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("nobody can be asked"))
	}
	return errors.Join(errs...)
}

func (k *Keeper) askOne(ctx context.Context, by right.Kind, id arbiter.ID, n uint64) error {
	switch by {
	case right.LetGo:
		within, cancel := context.WithTimeout(ctx, greetWait)
		defer cancel()
		return k.Other.LetGo(within, LetGoRequest{Group: k.Group, ID: id, N: n})
	case right.Arbiter:
		return k.askArbiter(ctx, id, n)
	case right.Fence:
		if err := k.silentLongEnough(); err != nil {
			return err
		}
		return k.Fencer.Fence(ctx, k.Group, k.Config.Peer, id)
	}
	return fmt.Errorf("nobody knows how to ask for %s", by)
}

// askArbiter asks for the record. To an active node a lost one is the end.
func (k *Keeper) askArbiter(ctx context.Context, id arbiter.ID, n uint64) error {
	_, err := k.Arbiter.Ask(ctx, arbiter.Request{Group: k.Group, Want: k.Node, N: n, ID: id})
	if lost, ok := errors.AsType[*arbiter.LostError](err); ok && lost.Record.Holder == k.Config.Peer {
		k.mu.Lock()
		k.lost = lost.Record.String()
		k.mu.Unlock()
		k.tell()
	}
	return err
}

// silentLongEnough says that the peer may be fenced: it was silent on every path for long, or has ended.
func (k *Keeper) silentLongEnough() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	wait := k.FenceAfter
	if !k.active() {
		wait += standbyLater
	}
	switch {
	case k.beats.Gone:
		return nil
	case k.beats.Alive:
		return fmt.Errorf("%s is heard: it is not fenced", k.Config.Peer)
	case k.beats.Since.IsZero():
		return &tooSoonError{k.Config.Peer, wait, wait}
	}
	if left := wait - k.Now().Sub(k.beats.Since); left > 0 {
		return &tooSoonError{k.Config.Peer, wait, left}
	}
	return nil
}

// standbyLater is how much later the standby fences (FAILOVER.md, safety 4).
const standbyLater = 2 * time.Second

func (k *Keeper) waiter() chan struct{} {
	c := make(chan struct{}, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wakes[c] = true
	return c
}

func (k *Keeper) forget(c chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.wakes, c)
}

// LetGo answers a peer that asks to go on alone: this node gives up its right, on the disk, before it says so.
func (k *Keeper) LetGo(ctx context.Context, r LetGoRequest) error {
	connected, err := k.yield(r.N)
	if err != nil {
		return err
	}
	if !connected {
		for _, name := range k.Resources {
			if err := k.Disks.Outdate(ctx, name); err != nil {
				return fmt.Errorf("outdate %s: %w", name, err)
			}
		}
	}
	k.tell()
	return nil
}

// yield writes down that the peer may go on alone.
func (k *Keeper) yield(n uint64) (connected bool, err error) {
	k.own.Lock()
	defer k.own.Unlock()
	k.mu.Lock()
	v := right.MayYield(k.situation(), n)
	connected = !k.joined.IsZero()
	k.mu.Unlock()
	if !v.May {
		return connected, &RefusedError{Why: v.Why}
	}
	if v.Write != nil {
		if err := k.write(*v.Write); err != nil {
			return connected, fmt.Errorf("write down that %s may go on alone: %w", k.Config.Peer, err)
		}
	}
	return connected, nil
}

// Confirm takes a person's word that the peer is off, and stays off until the two see each other again.
func (k *Keeper) Confirm(who string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.heard() || k.beats.Alive || !k.joined.IsZero() {
		return &RefusedError{Why: k.Config.Peer + " is heard: it is not dead"}
	}
	if k.inFlight == (arbiter.ID{}) || k.number != k.record.N+1 {
		k.inFlight, k.number = arbiter.NewID(), k.record.N+1
	}
	k.licence = right.Licence{Kind: right.Person, Request: k.inFlight, N: k.number}
	k.Log.Warn("a person says that the peer is off", "group", k.Group, "peer", k.Config.Peer, "by", who, "request", k.inFlight.String())
	k.tellSoon()
	return nil
}

// Fenced answers DRBD's fence-peer handler: what it is to exit with (facts/ha.md 4.3). Never 5.
func (k *Keeper) Fenced(ctx context.Context) (exit int, err error) {
	by, err := k.Acquire(ctx)
	switch {
	case err != nil:
		return exitBroken, err
	case by == right.Connected: // it is back: DRBD decides by itself
		return exitBroken, &RefusedError{Why: k.Config.Peer + " is connected again"}
	case by == right.LetGo:
		return exitOutdated, nil
	}
	return exitStonithed, nil
}

// Split notes that DRBD called its split-brain handler about a resource: the kernel's log has more by now.
func (k *Keeper) Split(resource string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.split[resource]; p != nil {
		p.known = false
	}
}

// What fence-peer exits with (drbd.org, users-guide-8.3, s-fence-peer). Any other status leaves I/O frozen.
const (
	exitBroken    = 1
	exitOutdated  = 4
	exitStonithed = 7
)

// Target answers DRBD's before-resync-target handler: a node that is about to be overwritten first writes down that its peer has what counts.
func (k *Keeper) Target(resource string) error {
	k.own.Lock()
	defer k.own.Unlock()
	k.mu.Lock()
	v := right.MayBeTarget(k.situation(), k.giveUp[resource])
	k.mu.Unlock()
	if !v.May {
		return &RefusedError{v.Why, v.Override}
	}
	if v.Write == nil {
		return nil
	}
	return k.write(*v.Write)
}
