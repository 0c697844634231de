package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// from dials from another address of the loopback network: a stranger's.
func from(t *testing.T, i int, to Node) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}}
	c, err := d.DialContext(t.Context(), "tcp", to.Addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Strangers that say nothing hold a few places for a few seconds; the node that this one is paired with does not notice, the log has one line, and
// the memory is bounded by the places.
func TestASlowLorisTakesNobodysPlace(t *testing.T) {
	a, b := identity(t), identity(t)
	log := &lines{}
	known := []Node{{Name: "a", Key: a.Public()}}
	node := serveOn(t, "127.0.0.1:0", b, known, slog.New(slog.NewTextHandler(log, nil)), echo)
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all []net.Conn
	for i := range 500 {
		c := from(t, i, node)
		defer c.Close()
		all = append(all, c)
		_, _ = c.Write([]byte{22, 3, 1}) // the first bytes of a TLS record; it may be turned away already
	}
	c := NewClient("", a)
	defer c.Close()
	for range 20 { // each time over a connection of its own
		if err := c.Do(t.Context(), node, VerbOutdateDisk, nil, nil); !errors.Is(err, ErrNoStorage) {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	stay := 0
	for _, c := range all {
		// Who was turned away finds the connection closed by now: they were accepted in their order, and the node's after them.
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			stay++
		}
	}
	if stay > strangers {
		t.Errorf("%d of them stay, want %d at most", stay, strangers)
	}
	if said := log.containing("refused connections"); len(said) > 1 {
		t.Errorf("%d lines: %q", len(said), said)
	}
}

// Whatever a stranger sends as a hello, it is turned away, and no more than handshakeBytes of it are read.
func TestBadHellos(t *testing.T) {
	a, b := identity(t), identity(t)
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, echo)
	for name, hello := range map[string]string{
		"HTTP": "GET / HTTP/1.1\r\n\r\n", "SSH": "SSH-2.0-OpenSSH\r\n", "zeros": strings.Repeat("\x00", 4096), "a record without an end": "\x16\x03\x01\xff\xff" + strings.Repeat("x", 4096),
		"TLS 1.0": "\x15\x03\x01\x00\x02\x02\x46",
	} {
		t.Run(name, func(t *testing.T) {
			c := from(t, len(hello), node)
			defer c.Close()
			if _, err := c.Write([]byte(hello)); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it was not turned away")
			}
		})
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		c := tls.Client(from(t, 77, node), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, MinVersion: tls.VersionTLS12})
		defer c.Close()
		if err := c.HandshakeContext(t.Context()); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("no certificate", func(t *testing.T) {
		c := tls.Client(from(t, 78, node), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"kvmha"}})
		defer c.Close()
		if _, err := c.Write([]byte("x")); err == nil {
			if _, err = c.Read(make([]byte, 1)); err == nil {
				t.Error("answered")
			}
		}
	})
	c := NewClient("", a)
	defer c.Close()
	if err := c.Do(t.Context(), node, VerbReport, ping{"x"}, nil); err != nil {
		t.Error(err)
	}
}

// endless gives a stranger's certificate message that never ends.
type endless struct {
	net.Conn
	given int
}

func (e *endless) Read(p []byte) (int, error) { e.given += len(p); clear(p); return len(p), nil }

func TestNoMoreIsReadThanAHandshakeNeeds(t *testing.T) {
	e := &endless{}
	m := &metered{Conn: e}
	m.left.Store(handshakeBytes)
	n, err := io.CopyN(io.Discard, m, 1<<20)
	if !errors.Is(err, errTooFar) || n != handshakeBytes || e.given != handshakeBytes {
		t.Errorf("read %d of %d, %v", n, e.given, err)
	}
}

// A bytewise replay of what a node sent gets no answer: the handshake is bound to fresh keys of both sides (RFC 8446 appendix E.1).
func TestAReplayIsWorthless(t *testing.T) {
	a, b := identity(t), identity(t)
	known := []Node{{Name: "a", Key: a.Public()}}
	asked := make(chan string, 10)
	node := serve(t, b, known, func(s *Server) {
		echo(s)
		inner := s.handlers[VerbReport]
		s.Handle(VerbReport, func(ctx context.Context, from Node, in json.RawMessage) (any, error) {
			asked <- from.Name
			return inner(ctx, from, in)
		})
	})
	rec := &recorder{}
	tap := tapped(t, node, rec)
	c := NewClient("", a)
	defer c.Close()
	if err := c.Do(t.Context(), tap, VerbReport, ping{"once"}, nil); err != nil {
		t.Fatal(err)
	}
	c.Close()
	conn, err := net.Dial("tcp", node.Addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write(rec.bytes()) // it may be turned away before the end
	_, _ = io.Copy(io.Discard, conn)
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
}

// Nobody looks at the times of a certificate, so a clock may be wrong by years.
func TestAClockMayBeWrong(t *testing.T) {
	at := time.Now()
	for name, valid := range map[string][2]time.Time{
		"expired a year ago": {at.AddDate(-2, 0, 0), at.AddDate(-1, 0, 0)}, "valid in a year": {at.AddDate(1, 0, 0), at.AddDate(2, 0, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := identity(t), identity(t)
			for _, id := range []*Identity{a, b} {
				c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: valid[0], NotAfter: valid[1]}
				der, err := x509.CreateCertificate(rand.Reader, c, c, id.sign.Public().(ed25519.PublicKey), id.sign)
				if err != nil {
					t.Fatal(err)
				}
				id.cert.Certificate = [][]byte{der}
			}
			node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, echo)
			c := NewClient("", a)
			defer c.Close()
			if err := c.Do(t.Context(), node, VerbReport, ping{"x"}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// A node whose key is taken back is cut off at once, in the middle of a connection.
func TestAKeyThatIsTakenBackEndsItsConnections(t *testing.T) {
	a, b := identity(t), identity(t)
	var server *Server
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, func(s *Server) { server = s; echo(s) })
	c := NewClient("", a)
	defer c.Close()
	s, err := c.Stream(t.Context(), node, VerbSyncPull, "zones")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server.Use(b, []Node{{Name: "a", Key: identity(t).Public()}})
	if err := s.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(make([]byte, 1)); err == nil || n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it goes on: %d, %v", n, err)
	}
}

// A node has a bounded number of connections, and one too many costs the others nothing.
func TestConnectionsOfANodeAreBounded(t *testing.T) {
	a, b := identity(t), identity(t)
	node := serve(t, b, []Node{{Name: "a", Key: a.Public()}}, echo)
	c := NewClient("", a)
	defer c.Close()
	for i := range connections {
		s, err := c.Stream(t.Context(), node, VerbSyncPull, "zones")
		if err != nil {
			t.Fatal(fmt.Errorf("stream %d: %w", i, err))
		}
		defer s.Close()
	}
	if s, err := c.Stream(t.Context(), node, VerbSyncPull, "zones"); err == nil {
		s.Close()
		t.Error("one more was accepted")
	}
}
