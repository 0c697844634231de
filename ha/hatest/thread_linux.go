package hatest

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// errClosed says that the lab is gone.
var errClosed = errors.New("the lab is closed")

// thread is an operating system thread in a network namespace of its own, which ends with it and with what was started from it.
type thread struct {
	work chan func()
	quit chan struct{} // closed: end
	gone chan struct{} // closed: ended
}

// newThread starts one.
func newThread() (*thread, error) {
	t := &thread{make(chan func()), make(chan struct{}), make(chan struct{})}
	ready := make(chan error)
	go t.run(ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	return t, nil
}

func (t *thread) run(ready chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if unix.Gettid() == unix.Getpid() {
		// The first thread is what /proc/self shows to the whole process: another one is taken, while this one is held.
		done := make(chan struct{})
		go func() {
			defer close(done)
			t.run(ready)
		}()
		<-done
		runtime.UnlockOSThread()
		return
	}
	defer close(t.gone)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("make a network namespace: %w", err)
		return
	}
	ready <- nil
	for {
		select {
		case f := <-t.work:
			f()
		case <-t.quit:
			return
		}
	}
}

// do runs f on the thread and waits for it.
func (t *thread) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case t.work <- func() { result <- f() }:
		return <-result
	case <-t.gone:
		return errClosed
	}
}

// end lets the thread end and waits for it.
func (t *thread) end() {
	close(t.quit)
	<-t.gone
}
