package hostcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm"
)

// detachKey leaves the console: ^].
const detachKey = 0x1d

// Times of a visit to the console.
const (
	harvestEvery = time.Second            // the log's tmpfs is small: who is there empties it
	readEvery    = 100 * time.Millisecond // how often a reader looks at the log
	silence      = time.Second            // after the end of a piped stdin
	lingerMost   = time.Minute
)

// maxPending bounds what was typed and the guest does not take, in bytes.
const maxPending = 64 << 10

// writer is the one who types: one loop over poll(2), so that a guest that takes nothing keeps nobody from ^], and nothing runs beside it
// that could die and leave the terminal raw.
type writer struct {
	c       *vm.Console
	in      int // -1: there is no input any more
	tty     bool
	bell    *bell
	out     io.Writer
	harvest func() error

	sock    int
	pending []byte // typed, not yet taken
	ended   time.Time
	heard   time.Time
	swept   time.Time
}

func (w *writer) run(ctx context.Context) (leaving, error) {
	raw, err := w.c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if err := raw.Control(func(fd uintptr) { w.sock = int(fd) }); err != nil { // w.c stays open longer than we
		return 0, err
	}
	if w.in < 0 {
		w.ended = time.Now()
	}
	w.heard, w.swept = time.Now(), time.Now()
	for {
		left, how, err := w.turn(ctx)
		if left || err != nil {
			return how, err
		}
	}
}

// turn waits for something to happen and deals with it; left says that the visit is over.
func (w *writer) turn(ctx context.Context) (left bool, how leaving, err error) {
	fds := []unix.PollFd{{Fd: int32(w.in), Events: unix.POLLIN}, {Fd: int32(w.sock), Events: unix.POLLIN}, {Fd: w.bell.fd(), Events: unix.POLLIN}}
	if len(w.pending) > 0 {
		fds[1].Events |= unix.POLLOUT
		if !w.tty {
			fds[0].Fd = -1 // a pipe can wait; keys cannot, one may be ^]
		}
	}
	if _, err := unix.Poll(fds, pollTime(w.patience())); err != nil && !errors.Is(err, unix.EINTR) {
		return false, 0, fmt.Errorf("wait for console and keys: %w", err)
	}
	if ctx.Err() != nil {
		return true, leftByUser, nil
	}
	if fds[0].Revents != 0 {
		if left, err := w.typed(); left || err != nil {
			return left, leftByUser, err
		}
	}
	if fds[1].Revents != 0 {
		if gone, err := w.spoke(); gone || err != nil {
			return gone, leftByEnd, err
		}
	}
	if gone, err := w.flush(); gone || err != nil {
		return gone, leftByEnd, err
	}
	if now := time.Now(); now.Sub(w.swept) >= harvestEvery {
		w.swept = now
		if err := w.harvest(); err != nil {
			return false, 0, err
		}
	}
	return w.finished(time.Now()), leftByUser, nil
}

// patience is how long nothing may happen until we look after other things.
func (w *writer) patience() time.Duration {
	if w.ended.IsZero() || w.tty {
		return harvestEvery
	}
	return min(harvestEvery, silence-time.Since(w.heard))
}

// finished decides, after the end of a piped stdin, whether the guest has said all that there is to it.
func (w *writer) finished(now time.Time) bool {
	if w.ended.IsZero() {
		return false
	}
	if w.tty { // the terminal is gone
		return true
	}
	quiet := len(w.pending) == 0 && now.Sub(w.heard) >= silence && now.Sub(w.ended) >= silence
	return quiet || now.Sub(w.ended) >= lingerMost
}

// typed takes input; true: the person leaves.
func (w *writer) typed() (bool, error) {
	buf := make([]byte, 4<<10)
	n, err := readInput(w.in, buf)
	if errors.Is(err, io.EOF) {
		w.in, w.ended = -1, time.Now()
		return false, nil
	}
	if err != nil {
		return false, err
	}
	keys, left := buf[:n], false
	if w.tty {
		keys, _, left = bytes.Cut(keys, []byte{detachKey})
	}
	if len(w.pending)+len(keys) > maxPending {
		_, err := io.WriteString(w.out, "\a") // the guest takes nothing
		return left, err
	}
	w.pending = append(w.pending, keys...)
	if left {
		_, _ = w.flush() // what the guest takes at once
	}
	return left, nil
}

// flush gives the guest what it takes; true: the guest has gone.
func (w *writer) flush() (bool, error) {
	if len(w.pending) == 0 {
		return false, nil
	}
	n, err := unix.SendmsgN(w.sock, w.pending, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false, nil
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		w.pending = nil // its last words are still to be read
		return false, nil
	case err != nil:
		return false, fmt.Errorf("type: %w", err)
	}
	w.pending = w.pending[n:]
	return false, nil
}

// spoke passes on what the guest says, byte for byte; true: the guest has gone.
func (w *writer) spoke() (bool, error) {
	buf := make([]byte, 32<<10)
	n, _, err := unix.Recvfrom(w.sock, buf, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false, nil
	case errors.Is(err, unix.ECONNRESET), err == nil && n == 0:
		return true, nil
	case err != nil:
		return false, fmt.Errorf("listen: %w", err)
	}
	w.heard = time.Now()
	_, err = w.out.Write(buf[:n])
	return false, err
}

// readConsole follows the console's log beside the one who types.
func (a *app) readConsole(ctx context.Context, g *seen, log *vm.ConsoleReader, in int, b *bell) (leaving, error) {
	p, err := g.host.Running(g.Name)
	if errors.Is(err, vm.ErrNotRunning) {
		return leftByEnd, nil
	}
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if err := showLast(a.env.Out, log); err != nil {
		return 0, err
	}
	told := false
	seat := watchSeat(g)
	for {
		if news := seat.news(); news != "" {
			fmt.Fprintf(a.env.Err, "\r\n[kvmctl: %s]\r\n", news)
		}
		gone := p.Wait(ctx, 0) // asked first: what it said before its end is in the log then
		if gone {
			if err := a.lastOf(g, log); err != nil {
				return 0, err
			}
			return leftByEnd, nil
		}
		data, err := log.Next()
		if err != nil {
			return 0, err
		}
		wait := readEvery
		if len(data) > 0 {
			wait = 0
			if _, err := a.env.Out.Write(data); err != nil {
				return 0, err
			}
		}
		fds := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}, {Fd: b.fd(), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, pollTime(wait)); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("wait for keys: %w", err)
		}
		if ctx.Err() != nil {
			return leftByUser, nil
		}
		if fds[0].Revents == 0 {
			continue
		}
		buf := make([]byte, 4<<10)
		n, err := readInput(in, buf)
		if errors.Is(err, io.EOF) || bytes.ContainsAny(buf[:n], "\x1d\x03") {
			return leftByUser, nil
		}
		if err != nil {
			return 0, err
		}
		if bytes.ContainsAny(buf[:n], "\r\n") && seat.isFree() {
			return leftSeat, nil
		}
		if !told && n > 0 && buf[0] != esc { // the terminal itself may answer a question of the guest's
			told = true
			io.WriteString(a.env.Err, "\r\n[kvmctl: read only; ^] leaves]\r\n")
		}
	}
}

// lastOf prints what the guest said until its end: burying it harvests that.
func (a *app) lastOf(g *seen, log *vm.ConsoleReader) error {
	g.host.EndOf(g.Name, "")
	for range 1 << 10 { // the log is bounded, and so are we
		data, err := log.Next()
		if err != nil || len(data) == 0 {
			return err
		}
		if _, err := a.env.Out.Write(data); err != nil {
			return err
		}
	}
	return nil
}
