package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// proven is a connection whose other side has proved who it is.
type proven struct {
	*tls.Conn
	key [ed25519.PublicKeySize]byte
}

// handshake has the other side prove who it is.
func (s *Server) handshake(ctx context.Context, raw net.Conn) (*proven, Node, error) {
	s.mu.Lock()
	id, nodes := s.id, s.nodes
	s.mu.Unlock()
	if id == nil {
		return nil, Node{}, errNoKey
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeWait)
	defer cancel()
	find := func(key [ed25519.PublicKeySize]byte) (Node, bool) {
		for _, n := range nodes {
			if n.knownBy(key) {
				if n.Key.Sign != key { // its handlers see the key that it has
					n.Key, n.Next = n.Next, PublicKey{}
				}
				return n, true
			}
		}
		return Node{}, false
	}
	m := &metered{Conn: raw}
	m.left.Store(handshakeBytes)
	c := tls.Server(m, config(id, func(key [ed25519.PublicKeySize]byte) bool { _, ok := find(key); return ok }))
	if err := c.HandshakeContext(ctx); err != nil {
		if errors.Is(err, ErrStranger) {
			drain(raw)
		}
		return nil, Node{}, err
	}
	m.left.Store(unmetered)
	key, _ := signer(c.ConnectionState())
	n, ok := find(key)
	if !ok {
		return nil, Node{}, ErrStranger
	}
	return &proven{c, key}, n, nil
}

// drain lets the other side read why it is refused: a socket that is closed with something unread in it is reset, and what was sent last is lost.
func drain(raw net.Conn) {
	if t, ok := raw.(*net.TCPConn); ok && t.CloseWrite() == nil && t.SetReadDeadline(now().Add(drainWait)) == nil {
		_, _ = io.CopyN(io.Discard, t, handshakeBytes)
	}
}

var (
	errNoKey  = errors.New("this node has no key yet")
	errTooFar = errors.New("the handshake is too long")
)

// unmetered is a connection's allowance after the handshake.
const unmetered = -1

// metered bounds what is read from a connection while the other side has not proved who it is: crypto/tls alone would buffer a certificate of 256 KiB.
type metered struct {
	net.Conn
	left atomic.Int64
}

func (m *metered) Read(p []byte) (int, error) {
	left := m.left.Load()
	switch {
	case left == unmetered:
		return m.Conn.Read(p)
	case left == 0:
		return 0, errTooFar
	case int64(len(p)) > left:
		p = p[:left]
	}
	n, err := m.Conn.Read(p)
	m.left.Add(-int64(n))
	return n, err
}
