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
	in := &input{br: bufio.NewReader(conn), limit: negotiateLine}
	m, err := in.next()
	if err == nil && m.greeting == nil {
		err = readError(errLine("a first line that is no greeting"), 0, 0)
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && in.partial == 0 {
			return Greeting{}, fmt.Errorf("%w (waited %v): %w", ErrBusy, since(start), ctx.Err())
		}
		return Greeting{}, fmt.Errorf("read the QMP greeting: %w", ctxFirst(ctx, err))
	}
	greeting := *m.greeting
	// Without an id, so that the recorder's file holds the plain {"return": {}}.
	line, err := encode(request{Execute: "qmp_capabilities"})
	if err == nil {
		_, err = conn.Write(line)
	}
	if err == nil {
		m, err = in.next()
	}
	switch {
	case err != nil:
		err = ctxFirst(ctx, err)
	case m.reply == nil:
		err = readError(errLine("no answer to qmp_capabilities"), in.offset, 0)
	case m.reply.err != nil:
		err = &Error{Class: m.reply.err.Class, Desc: printable(m.reply.err.Desc)}
	default:
		return greeting, nil
	}
	return Greeting{}, fmt.Errorf("run %q: %w", "qmp_capabilities", err)
}

// ctxFirst prefers the reason why a deadline was set off to the deadline's own error.
func ctxFirst(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
