package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// TCP connects to a port, and may speak: it writes Send and reads until the answer holds Expect.
type TCP struct {
	Address string // "127.0.0.1:53", "[::1]:389": a literal address, so that a lookup that fails is not taken for the service
	Send    string // written after the connect; empty: nothing
	Expect  string // the answer holds it within its first 4 KiB; empty: the connection is enough
}

// maxAnswer bounds what is read of an answer, in bytes; Expect is shorter.
const maxAnswer = 4 << 10

// Kind implements Spec.
func (TCP) Kind() string { return "tcp" }

// Validate implements Spec.
func (s TCP) Validate() error {
	ap, err := netip.ParseAddrPort(s.Address)
	switch {
	case err != nil:
		return fmt.Errorf("address %q is not ADDRESS:PORT with a literal address", s.Address)
	case ap.Port() == 0:
		return fmt.Errorf("address %q has no port", s.Address)
	case len(s.Expect) > maxAnswer/2:
		return fmt.Errorf("expect is longer than %d bytes", maxAnswer/2)
	}
	return nil
}

// Probe implements Spec.
func (s TCP) Probe(Env) (Probe, error) {
	ap, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return nil, err
	}
	return &tcpProbe{spec: s, at: ap}, nil
}

type tcpProbe struct {
	spec TCP
	at   netip.AddrPort
	slow int // glances in a row that saw nothing
}

// maxSlow is after how many glances in vain a server counts as one that is not on this machine: each is a connection more for it.
const maxSlow = 3

func (p *tcpProbe) Close() {}

// Glance implements Glancer, for a server on this machine that need not say anything: Ask does no more.
func (p *tcpProbe) Glance(int) bool {
	if p.spec.Send != "" || p.spec.Expect != "" || p.slow >= maxSlow {
		return false
	}
	if connectsAtOnce(p.at) {
		p.slow = 0
		return true
	}
	p.slow++
	return false
}

func (p *tcpProbe) Ask(ctx context.Context) error {
	began := time.Now()
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, p.at)
	if err != nil {
		return p.explain("connect to", err, began)
	}
	defer c.Close()
	if p.spec.Send == "" && p.spec.Expect == "" {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return p.explain("talk to", err, began)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if p.spec.Send != "" {
		if _, err := c.Write([]byte(p.spec.Send)); err != nil {
			return p.explain("send to", err, began)
		}
	}
	if p.spec.Expect == "" {
		return nil
	}
	return p.read(c, began)
}

// read takes the answer until it holds what is expected.
func (p *tcpProbe) read(c net.Conn, began time.Time) error {
	want := []byte(p.spec.Expect)
	buf, n := make([]byte, maxAnswer), 0
	for n < len(buf) {
		k, err := c.Read(buf[n:])
		n += k
		if bytes.Contains(buf[:n], want) {
			return nil
		}
		if err != nil {
			if n == 0 {
				return p.explain("read from", err, began)
			}
			return fmt.Errorf("%v answered %s, not %s", p.at, shortQuote(buf[:n]), shortQuote(want))
		}
	}
	return fmt.Errorf("%v answered %d bytes without %s: %s", p.at, n, shortQuote(want), shortQuote(buf[:n]))
}

// shortQuote quotes the first bytes of what came from outside.
func shortQuote(b []byte) string {
	const most = 60
	if len(b) > most {
		return strconv.Quote(string(b[:most])) + "…"
	}
	return strconv.Quote(string(b))
}

// explain words what an admin can act on.
func (p *tcpProbe) explain(act string, err error, began time.Time) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%v refuses connections: nothing listens there", p.at)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s %v: no answer within %v", act, p.at, time.Since(began).Round(10*time.Millisecond))
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err // net's frame repeats the address
	}
	return fmt.Errorf("%s %v: %w", act, p.at, err)
}
