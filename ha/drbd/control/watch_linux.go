package control

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/internal/runner"
)

// Told is what a watch tells: the state after an event, or that nobody can say.
type Told struct {
	State drbd.State
	Event drbd.Event // what led to State; one with Kind "" began a new telling. Of helpers it tells too, which change no state
	Err   error      // DRBD cannot be asked, and State is empty. It is told again only when it becomes another error
}

// Watching is how a watch is timed. The zero value has the defaults.
type Watching struct {
	Check time.Duration // between two looks whether the stream still tells the truth; 5 s
	Again time.Duration // a look that finds a difference is made once more after this, as the stream may just be late; 300 ms
	Begin time.Duration // from the start of a stream until it has told what there is; 10 s
	Pause time.Duration // before a new stream where the one before was of no use, or short; 1 s
}

func (w Watching) orDefaults() Watching {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&w.Check, 5 * time.Second}, {&w.Again, 300 * time.Millisecond}, {&w.Begin, 10 * time.Second}, {&w.Pause, time.Second}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	return w
}

// Why a stream of events was given up.
var (
	errSilent = errors.New("events2 says nothing of what has changed")
	errEnded  = errors.New("events2 ended")
)

// Watch tells of each change as DRBD pushes it, until ctx ends; then it returns nil, and nothing of it is left. tell is called by one goroutine and has
// to return soon. A stream that ends, is out of step, or is silent about a change (its process stopped, its socket overrun) is begun anew; the first
// event after that has the whole state again.
func (c *Control) Watch(ctx context.Context, timing Watching, tell func(Told)) error {
	w := watch{c: c, timing: timing.orDefaults(), tell: tell}
	for ctx.Err() == nil {
		began := time.Now()
		useful, err := w.stream(ctx)
		if ctx.Err() != nil {
			break
		}
		if !useful {
			w.fail(err)
		} else if time.Since(began) > w.timing.Pause {
			continue // it told the truth for a while: the next one is not to wait
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.timing.Pause):
		}
	}
	return nil
}

type watch struct {
	c      *Control
	timing Watching
	tell   func(Told)
	failed string // the error that was told last; empty: none since the last state
}

func (w *watch) fail(err error) {
	if text := err.Error(); text != w.failed {
		w.failed = text
		w.tell(Told{Err: err})
	}
}

// stream runs one events2 to its end, and reports whether it was of use.
func (w *watch) stream(ctx context.Context) (useful bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan string)
	ended := w.c.start(ctx, runner.Command{Argv: []string{"drbdsetup", "events2"}, Stdout: &splitter{ctx: ctx, lines: lines}})
	looked := make(chan look, 1) // by the one goroutine that looks, so that events are told meanwhile
	var looker sync.WaitGroup
	defer func() {
		cancel()
		looker.Wait()
		if ended != nil {
			wait(ctx, ended)
		}
	}()
	var (
		state    drbd.State
		complete bool
		differs  bool // the look before found a difference
	)
	timer := time.NewTimer(w.timing.Begin)
	defer timer.Stop()
	for {
		select {
		case line := <-lines:
			e, err := drbd.ParseEvent(line)
			if err == nil {
				err = state.Apply(e)
			}
			if err != nil {
				return complete, err
			}
			if e.Complete() {
				complete, e, w.failed = true, drbd.Event{}, ""
				timer.Reset(w.timing.Check)
			}
			if complete {
				w.tell(Told{State: state, Event: e})
			}
		case e := <-ended:
			ended = nil
			e.result.Truncated = false // of what nobody keeps
			if _, err := e.judge("watch", ""); err != nil {
				return complete, err
			}
			return complete, &Error{Act: "watch", Said: errEnded.Error(), cause: errEnded}
		case <-timer.C:
			if !complete {
				return false, errSilent
			}
			looker.Go(func() {
				now, err := w.c.States(ctx)
				looked <- look{now.Bare(), err}
			})
		case l := <-looked:
			switch {
			case l.err != nil:
				var e *Error
				if errors.As(l.err, &e) {
					e.Act = "watch" // it is the same to whoever is told
				}
				return false, l.err
			case reflect.DeepEqual(l.now, state.Bare()):
				differs = false
				timer.Reset(w.timing.Check)
			case differs:
				return true, errSilent
			default:
				differs = true
				timer.Reset(w.timing.Again)
			}
		case <-ctx.Done():
			return complete, context.Cause(ctx)
		}
	}
}

// look is what DRBD said when it was asked beside the stream.
type look struct {
	now drbd.State
	err error
}

// splitter hands lines on. A line longer than any of DRBD's ends the stream.
type splitter struct {
	ctx   context.Context
	lines chan<- string
	rest  []byte
}

func (s *splitter) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		line, rest, ok := bytes.Cut(s.rest, []byte("\n"))
		if !ok {
			break
		}
		select {
		case s.lines <- string(line):
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		}
		s.rest = rest
	}
	if len(s.rest) > drbd.MaxInput {
		return 0, drbd.ErrTooLong
	}
	return len(p), nil
}
