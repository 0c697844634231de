package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// The bounds of a node that has proved who it is.
const (
	connections = 16               // at a time, of one node
	idleWait    = time.Minute      // for its next request
	requestRate = 200              // a second, of one connection
	replyWait   = 10 * time.Second // for it to take an answer
)

// Handler answers a request of a node. An *AnswerError chooses its code; any other error is CodeFailed.
type Handler func(ctx context.Context, from Node, in json.RawMessage) (out any, err error)

// StreamHandler accepts or refuses a request; once it is accepted and the node was told so, the function that it gave has the connection, as a stream
// of bytes, until it returns or ctx ends.
type StreamHandler func(ctx context.Context, from Node, in json.RawMessage) (serve func(ctx context.Context, c net.Conn), err error)

// Server answers the other nodes. Its handlers are set before it serves.
type Server struct {
	Program  string // this program's version, told to the other side
	log      *refusals
	handlers map[Verb]Handler
	streams  map[Verb]StreamHandler

	mu    sync.Mutex
	id    *Identity
	nodes []Node
	gate  gate
	open  map[string]map[*proven]bool // by node
}

// NewServer makes a server that accepts nobody until Use says whom.
func NewServer(program string, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Program: program, log: &refusals{log: log}, handlers: map[Verb]Handler{}, streams: map[Verb]StreamHandler{}, open: map[string]map[*proven]bool{}}
	for _, v := range []Verb{VerbOutdateDisk, VerbSplitBrainStep} {
		s.Handle(v, func(context.Context, Node, json.RawMessage) (any, error) { return nil, ErrNoStorage })
	}
	return s
}

// Handle sets who answers a verb.
func (s *Server) Handle(v Verb, h Handler) { s.handlers[v] = h }

// HandleStream sets who takes the streams of a verb.
func (s *Server) HandleStream(v Verb, h StreamHandler) { s.streams[v] = h }

// Use sets the key of this node and the other nodes. Connections of a node or a key that is gone are closed.
func (s *Server) Use(id *Identity, nodes []Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.nodes = id, nodes
	var addrs []netip.Addr
	keys := map[string]Node{}
	for _, n := range nodes {
		keys[n.Name] = n
		for _, a := range n.Addresses {
			addrs = append(addrs, a.Addr())
		}
	}
	s.gate.use(addrs)
	for name, all := range s.open {
		for c := range all {
			if !keys[name].knownBy(c.key) {
				c.NetConn().Close() // tls.Conn.Close could wait for the other side
			}
		}
	}
}

// Serve answers who connects to l, until ctx ends; then it closes l and every connection, and comes back when the last of them is done with.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	turned := 0 // away, since the last pause
	for {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept a connection: %w", err)
		case err != nil: // no descriptor is free: it passes
			pause(ctx, 100*time.Millisecond)
			continue
		}
		from := addrOf(c.RemoteAddr())
		s.mu.Lock()
		o, ok := s.gate.admit(now(), from)
		s.mu.Unlock()
		if !ok {
			c.Close()
			s.log.count(from, errBusy)
			// A flood is turned away at a bounded speed; the kernel keeps what waits meanwhile, a node's connection too.
			if turned++; turned >= 100 {
				turned = 0
				pause(ctx, 20*time.Millisecond)
			}
			continue
		}
		all.Go(func() { s.one(ctx, c, o) })
	}
}

// errBusy says that too many of its kind are under way.
var errBusy = errors.New("too many handshakes")

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		addr, _ := netip.AddrFromSlice(t.IP)
		return addr.Unmap()
	}
	return netip.Addr{}
}

// one has a connection from its handshake to its end.
func (s *Server) one(ctx context.Context, raw net.Conn, o origin) {
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	c, from, err := s.handshake(ctx, raw)
	s.mu.Lock()
	s.gate.release(o)
	s.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			s.log.count(o.addr, err)
		}
		return
	}
	if !s.enter(from, c) {
		s.log.count(o.addr, errCrowd)
		return
	}
	defer s.leave(from, c)
	switch err := s.serve(ctx, c, from); {
	case err == nil, ctx.Err() != nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
	default:
		s.log.log.Debug("a node's connection ended", "node", from.Name, "error", err)
	}
}

var errCrowd = errors.New("the node has too many connections")

func (s *Server) enter(n Node, c *proven) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.open[n.Name]
	if len(all) >= connections {
		return false
	}
	if all == nil {
		all = map[*proven]bool{}
		s.open[n.Name] = all
	}
	all[c] = true
	return true
}

func (s *Server) leave(n Node, c *proven) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.open[n.Name], c); len(s.open[n.Name]) == 0 {
		delete(s.open, n.Name)
	}
}

// serve answers the requests of a node one after the other.
func (s *Server) serve(ctx context.Context, c *proven, from Node) error {
	pace := bucket{rate: requestRate, left: requestRate}
	for {
		if err := c.SetDeadline(now().Add(idleWait)); err != nil {
			return fmt.Errorf("wait for a request: %w", err)
		}
		f, unknown, err := readFrame(c)
		if err != nil {
			return err
		}
		if len(unknown) > 0 || f.Version > Version {
			s.log.newer(from.Name, f, unknown)
		}
		if !pace.take(now()) {
			pause(ctx, 100*time.Millisecond)
		}
		if accept := s.streams[f.Verb]; accept != nil {
			return s.stream(ctx, c, from, f, accept)
		}
		var out any
		if h := s.handlers[f.Verb]; h != nil {
			out, err = h(ctx, from, f.Body)
		} else {
			err = &AnswerError{Code: CodeUnknownVerb, Text: fmt.Sprintf("this agent (%s) does not know the request %q", s.Program, f.Verb)}
		}
		if err := s.answer(c, out, err); err != nil {
			return err
		}
	}
}

// answer sends the answer to a request.
func (s *Server) answer(c net.Conn, out any, failed error) error {
	if err := c.SetDeadline(now().Add(replyWait)); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	f := frame{Program: s.Program}
	if failed != nil {
		f.Error, out = wire(failed), nil
	}
	err := writeFrame(c, f, out)
	if errors.Is(err, ErrFrameTooLong) { // nothing was written yet
		f.Error = &wireError{Code: CodeFailed, Text: "the answer is longer than a frame"}
		return writeFrame(c, f, nil)
	}
	return err
}

// stream hands the connection over to who accepts it.
func (s *Server) stream(ctx context.Context, c net.Conn, from Node, f frame, accept StreamHandler) error {
	serve, err := accept(ctx, from, f.Body)
	if answered := s.answer(c, nil, err); err != nil || answered != nil {
		return answered
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("begin a stream: %w", err)
	}
	serve(ctx, c)
	return nil
}
