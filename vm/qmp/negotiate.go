package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// negotiateLine bounds the lines of a negotiation; a greeting is about 150 bytes.
const negotiateLine = 64 << 10

// Negotiate makes a monitor live that nobody will listen to, such as one end of a flight recorder's socketpair: it reads the greeting, sends
// qmp_capabilities and waits for the consent, within ctx (1 s when ctx has no deadline). From then on QEMU writes events there, also after
// the caller closed its end. conn stays the caller's. No greeting is ErrBusy.
func Negotiate(ctx context.Context, conn net.Conn) (Greeting, error) {
	ctx, cancel := withTimeout(ctx, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(longAgo) })
	defer stop()
	start := time.Now()
	br := bufio.NewReader(conn)
	g, offset, err := readGreeting(br)
	if err != nil {
		if ctx.Err() != nil && offset == 0 && !errors.Is(ctx.Err(), context.Canceled) {
			return Greeting{}, fmt.Errorf("%w (waited %v): %w", ErrBusy, since(start), ctx.Err())
		}
		return Greeting{}, fmt.Errorf("read the QMP greeting: %w", ctxFirst(ctx, err))
	}
	// Without an id, so that the recorder's file holds the plain {"return": {}}.
	line, err := encode(request{Execute: "qmp_capabilities"})
	if err == nil {
		_, err = conn.Write(line)
	}
	if err == nil {
		err = readConsent(br, offset)
	}
	if err != nil {
		return Greeting{}, fmt.Errorf("run %q: %w", "qmp_capabilities", ctxFirst(ctx, err))
	}
	return g, nil
}

// ctxFirst prefers the reason why a deadline was set off to the deadline's own error.
func ctxFirst(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// readGreeting also returns how many bytes it took.
func readGreeting(br *bufio.Reader) (Greeting, int64, error) {
	line, n, err := readLine(br, negotiateLine)
	if err != nil {
		return Greeting{}, int64(n), readError(err, 0, n)
	}
	m, err := decode(line)
	if err == nil && m.greeting == nil {
		err = errLine("a first line that is no greeting")
	}
	if err != nil {
		return Greeting{}, int64(n), readError(err, 0, 0)
	}
	return *m.greeting, int64(n), nil
}

func readConsent(br *bufio.Reader, offset int64) error {
	line, n, err := readLine(br, negotiateLine)
	if err != nil {
		return readError(err, offset, n)
	}
	m, err := decode(line)
	switch {
	case err != nil:
		return readError(err, offset, 0)
	case m.reply == nil:
		return readError(errLine("no answer to qmp_capabilities"), offset, 0)
	case m.reply.err != nil:
		return &Error{Class: m.reply.err.Class, Desc: printable(m.reply.err.Desc)}
	}
	return nil
}
