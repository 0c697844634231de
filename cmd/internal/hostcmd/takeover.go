package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"kvmctl/vm"
)

// takenError ends a visit that somebody else took over.
type takenError struct{ by vm.Sitter }

func (e *takenError) Error() string { return fmt.Sprintf("%s took it over", e.by) }

// untilTaken gives a context that ends when somebody takes the seat; stop waits for the goroutine behind it.
func untilTaken(ctx context.Context, taken <-chan vm.Sitter) (inner context.Context, stop func()) {
	inner, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case who := <-taken:
			cancel(&takenError{who})
		case <-inner.Done():
		}
	})
	return inner, func() { cancel(nil); wg.Wait() }
}

// takenBy tells whether a visit ended because somebody took it over; nil: it did not.
func takenBy(ctx context.Context) *takenError {
	var taken *takenError
	if errors.As(context.Cause(ctx), &taken) {
		return taken
	}
	return nil
}

// visitor is the person at this terminal.
func (a *app) visitor(force bool) vm.Visitor {
	v := vm.Visitor{Force: force}
	if fd, ok := a.env.InTerminal(); ok {
		if path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
			v.TTY = strings.TrimPrefix(path, "/dev/")
		}
	}
	return v
}

// seatWatch tells a reader of the console who types.
type seatWatch struct {
	look   func() (vm.Sitter, bool)
	who    vm.Sitter
	free   bool
	looked time.Time
}

func watchSeat(g *seen) *seatWatch {
	w := &seatWatch{look: func() (vm.Sitter, bool) { return g.host.ConsoleSitter(g.Name) }, looked: time.Now()}
	who, taken := w.look()
	w.who, w.free = who, !taken
	return w
}

// isFree looks anew: whoever comes and goes does so between two looks.
func (w *seatWatch) isFree() bool {
	_, taken := w.look()
	return !taken
}

// news is what a reader should know and was not told; "": nothing.
func (w *seatWatch) news() string {
	const lookEvery = 500 * time.Millisecond
	if time.Since(w.looked) < lookEvery {
		return ""
	}
	w.looked = time.Now()
	who, taken := w.look()
	left := w.who
	switch {
	case !taken && !w.free:
		w.free = true
		return fmt.Sprintf("%s has left; Enter takes the keyboard", left)
	case taken && who.PID != 0 && (w.free || !who.Since.Equal(w.who.Since)):
		w.who, w.free = who, false
		return fmt.Sprintf("%s is typing", who)
	}
	return ""
}
