package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Password is a secret that shows itself only where it is used.
type Password interface{ Reveal() string }

func reveal(p Password) string {
	if p == nil {
		return ""
	}
	return p.Reveal()
}

// errTooMuch says that a server answered more than any honest one does.
var errTooMuch = errors.New("it does not stop to answer")

// cutConn is a connection of one question: it ends with the question's context, whatever a library on top of it waits for, gives no more than so
// many bytes, and keeps the first error, which libraries turn into text.
type cutConn struct {
	net.Conn
	at    netip.AddrPort
	began time.Time
	stop  func() bool
	seen  func([]byte) error // sees what is read, and may end it; nil: nobody does

	mu   sync.Mutex
	left int
	err  error
}

// begin is a question's connection before there is one, which can explain already.
func begin(at netip.AddrPort, most int) *cutConn {
	return &cutConn{at: at, began: time.Now(), left: most}
}

// dial connects to at for one question, whose answers have at most so many bytes. The connection is the caller's to close.
func dial(ctx context.Context, at netip.AddrPort, most int) (*cutConn, error) {
	cut := begin(at, most)
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, at)
	if err != nil {
		return nil, cut.explain("connect to", err)
	}
	cut.Conn = c
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	cut.stop = context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return cut, nil
}

func (c *cutConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// SetDeadline does nothing, nor do its likes: the deadline is the question's.
func (*cutConn) SetDeadline(time.Time) error { return nil }

func (*cutConn) SetReadDeadline(time.Time) error { return nil }

func (*cutConn) SetWriteDeadline(time.Time) error { return nil }

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.seen != nil {
		if bad := c.seen(p[:n]); bad != nil && err == nil {
			n, err = 0, bad
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left -= n; c.left < 0 && err == nil {
		n, err = 0, errTooMuch
	}
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err == nil {
		c.err = err
	}
	return n, err
}

// cause is what ended the connection; nil: nothing did.
func (c *cutConn) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// explain words what an admin can act on of what the network says.
func (c *cutConn) explain(act string, err error) error {
	at := c.at
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%v refuses connections: nothing listens there", at)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s %v: no answer within %v", act, at, time.Since(c.began).Round(10*time.Millisecond))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s %v: it closed the connection", act, at)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		err = op.Err // net's frame repeats the address
	}
	return fmt.Errorf("%s %v: %w", act, at, err)
}

// explainTLS does it for a handshake.
func (c *cutConn) explainTLS(ca string, err error) error {
	at := c.at
	if ca == "" {
		ca = "the system's CAs"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%v: its certificate is signed by none of %s", at, ca)
	}
	if h, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Errorf("%v: its certificate is for %s, not for %s: server_name", at, holders(h.Certificate), h.Host)
	}
	if v, ok := errors.AsType[x509.CertificateInvalidError](err); ok && v.Reason == x509.Expired {
		return fmt.Errorf("%v: its certificate is valid from %s to %s only", at, v.Cert.NotBefore.UTC().Format(time.DateTime), v.Cert.NotAfter.UTC().Format(time.DateTime))
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%v does not speak TLS there", at)
	}
	return c.explain("begin TLS with", err)
}

func holders(c *x509.Certificate) string {
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "nobody (it has no alternative names)"
	}
	const most = 3
	if len(all) > most {
		all = append(all[:most:most], "…")
	}
	return strings.Join(all, ", ")
}

// maxCA bounds a file with certificates, in bytes: a system's bundle has 200 KiB.
const maxCA = 1 << 20

// trust is whom a check believes. The file is read for each question, and parsed anew when it has changed.
type trust struct {
	file  string
	pem   []byte
	roots *x509.CertPool
}

// config gives the TLS configuration to reach name, the literal address where that is empty.
func (t *trust) config(at netip.AddrPort, name string) (*tls.Config, error) {
	if name == "" {
		name = at.Addr().WithZone("").String()
	}
	c := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if t.file == "" {
		return c, nil
	}
	f, err := os.OpenFile(t.file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxCA))
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	if t.roots == nil || !bytes.Equal(pem, t.pem) {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s holds no certificate", t.file)
		}
		t.roots, t.pem = roots, pem
	}
	c.RootCAs = t.roots
	return c, nil
}
