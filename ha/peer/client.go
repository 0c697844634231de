package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The times of a client.
const (
	dialWait  = 5 * time.Second        // for a connection and its handshake
	stagger   = 250 * time.Millisecond // until the next address of a node is tried too (RFC 8305)
	keepFor   = 20 * time.Second       // an idle connection; the server's patience is longer
	answerFor = 30 * time.Second       // for an answer where the caller's context has no deadline
)

// Client asks other nodes. It may be used by several goroutines at once.
type Client struct {
	Program string // this program's version, told to the other side

	mu   sync.Mutex
	id   *Identity
	idle map[string]idle // by node: at most one
}

// idle is a connection that waits for the next request.
type idle struct {
	c     *tls.Conn
	key   PublicKey // that the node had
	since time.Time
}

// NewClient makes a client with this node's key; nil until Use gives one.
func NewClient(program string, id *Identity) *Client {
	return &Client{Program: program, id: id, idle: map[string]idle{}}
}

// Use sets the key of this node. Connections with another one are closed.
func (c *Client) Use(id *Identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == nil || id == nil || c.id.public != id.public {
		c.drop()
	}
	c.id = id
}

// Close closes what is idle.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

func (c *Client) drop() {
	for name, i := range c.idle {
		i.c.Close()
		delete(c.idle, name)
	}
}

// Do asks a node, and fills out from the answer; nil: the answer's body does not matter. The error is a *NotPairedError, an *UnreachableError, an
// *AnswerError, or what broke the connection: then nobody knows whether the request was carried out.
func (c *Client) Do(ctx context.Context, n Node, v Verb, in, out any) error {
	if v.readsOnly() {
		if i, ok := c.take(n); ok {
			err := c.exchange(ctx, i, n, v, in, out)
			if _, answered := errors.AsType[*AnswerError](err); err == nil || answered {
				return err
			}
			if ctx.Err() != nil {
				return err
			}
		}
	}
	t, err := c.dial(ctx, n)
	if err != nil {
		return err
	}
	return c.exchange(ctx, t, n, v, in, out)
}

// Stream asks a node for a stream; after its yes the connection is the caller's, who closes it.
func (c *Client) Stream(ctx context.Context, n Node, v Verb, in any) (net.Conn, error) {
	t, err := c.dial(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := c.converse(ctx, t, n, v, in, nil); err != nil {
		t.Close()
		return nil, err
	}
	if err := t.SetDeadline(time.Time{}); err != nil {
		t.Close()
		return nil, fmt.Errorf("begin a stream: %w", err)
	}
	return t, nil
}

// take gives the idle connection to a node, if there is a fresh one.
func (c *Client) take(n Node) (*tls.Conn, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.idle[n.Name]
	delete(c.idle, n.Name)
	if ok && (i.key != n.Key || time.Since(i.since) > keepFor) {
		i.c.Close()
		ok = false
	}
	return i.c, ok
}

// exchange asks on a connection, and keeps it for the next request if it is still good.
func (c *Client) exchange(ctx context.Context, t *tls.Conn, n Node, v Verb, in, out any) error {
	err := c.converse(ctx, t, n, v, in, out)
	if _, answered := errors.AsType[*AnswerError](err); err != nil && !answered || ctx.Err() != nil {
		t.Close()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.idle[n.Name]; there || !v.readsOnly() || c.id == nil {
		t.Close()
		return err
	}
	c.idle[n.Name] = idle{t, n.Key, now()}
	return err
}

// converse writes a request and reads its answer.
func (c *Client) converse(ctx context.Context, t *tls.Conn, n Node, v Verb, in, out any) error {
	end, ok := ctx.Deadline()
	if !ok {
		end = now().Add(answerFor)
	}
	stop := context.AfterFunc(ctx, func() { t.Close() })
	defer stop()
	if err := t.SetDeadline(end); err != nil {
		return fmt.Errorf("ask %s: %w", n.Name, err)
	}
	if err := writeFrame(t, frame{Program: c.Program, Verb: v}, in); err != nil {
		return c.broke(ctx, n, err)
	}
	f, _, err := readFrame(t)
	switch {
	case err != nil:
		return c.broke(ctx, n, err)
	case f.Error != nil:
		return &AnswerError{n.Name, f.Program, f.Error.Code, f.Error.Text, f.Error.Hint}
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(f.Body, out); err != nil { // a later version's fields are left out
		return fmt.Errorf("read the answer of %s: %w", n.Name, ErrBadFrame)
	}
	return nil
}

// broke says why a connection ended: in TLS 1.3 the other side's refusal of our key comes with the first answer.
func (c *Client) broke(ctx context.Context, n Node, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return fmt.Errorf("ask %s: %w", n.Name, ErrUnpaired)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("ask %s: %w", n.Name, err)
}

// dial connects to the first address of a node that proves to be it. They are tried one after the other, the next one without waiting long for
// the one before.
func (c *Client) dial(ctx context.Context, n Node) (*tls.Conn, error) {
	c.mu.Lock()
	id := c.id
	c.mu.Unlock()
	switch {
	case id == nil:
		return nil, &NotPairedError{n.Name}
	case n.Key.IsZero():
		return nil, &NotPairedError{n.Name}
	case len(n.Addresses) == 0:
		return nil, &UnreachableError{n.Name, errors.New("it has no address")}
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	type end struct {
		c   *tls.Conn
		err error
	}
	ends := make(chan end)
	var tries sync.WaitGroup
	defer tries.Wait()
	defer cancel() // before the wait: who is late gives up
	won := make(chan struct{})
	defer close(won)
	for i, a := range n.Addresses {
		tries.Go(func() {
			pause(ctx, time.Duration(i)*stagger)
			t, err := connect(ctx, id, n, a)
			select {
			case ends <- end{t, err}:
			case <-won:
				if t != nil {
					t.Close()
				}
			}
		})
	}
	var errs []error
	for range n.Addresses {
		e := <-ends
		if e.err == nil {
			return e.c, nil
		}
		errs = append(errs, e.err)
	}
	return nil, &UnreachableError{n.Name, errors.Join(errs...)}
}

// connect makes one connection.
func connect(ctx context.Context, id *Identity, n Node, a netip.AddrPort) (*tls.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	m := &metered{Conn: raw}
	m.left.Store(handshakeBytes)
	t := tls.Client(m, config(id, func(key [ed25519.PublicKeySize]byte) bool { return n.knownBy(key) }))
	if err := t.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("prove who is at %s: %w", a, err)
	}
	m.left.Store(unmetered)
	return t, nil
}
