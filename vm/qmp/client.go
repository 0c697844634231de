package qmp

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Client is one negotiated connection to a QMP monitor. Its methods may be called from several goroutines. Close it to end its one
// goroutine, which reads.
type Client struct {
	conn     io.ReadWriteCloser
	greeting Greeting

	prefix string // of our ids: a late answer to an earlier client of this monitor is never taken for ours
	seq    atomic.Uint64
	write  chan struct{} // holds the token of the one who writes
	files  chan struct{} // holds the token of the one whose file QEMU has not answered for

	mu      sync.Mutex
	pending map[string]*call
	err     error // why the connection ended; set once

	events  chan Event
	dropped atomic.Uint64
	strays  atomic.Uint64
	done    chan struct{}

	in input // the reader's own
}

// call is a command that waits for its answer.
type call struct {
	answer chan *reply // of capacity 1: the reader never waits
	file   bool        // holds the files token until answered
}

// Option changes how a connection is made.
type Option func(*options)

type options struct{ maxLine int }

// MaxLine bounds one line of the peer, in bytes; DefaultMaxLine unless given (the guest agent: DefaultAgentMaxLine).
func MaxLine(n int) Option { return func(o *options) { o.maxLine = n } }

func newOptions(maxLine int, opts []Option) options {
	o := options{maxLine: maxLine}
	for _, f := range opts {
		f(&o)
	}
	return o
}

// NewClient reads the greeting on conn and negotiates, with out-of-band commands where QEMU offers them. It waits until ctx ends, 1 s when ctx has no
// deadline; without a greeting by then the error is ErrBusy. It owns conn, also when it fails. Closing conn has to end a Read and a
// Write under way, as net.Conn's does. A conn with SetWriteDeadline survives a command that could not be written in time.
func NewClient(ctx context.Context, conn io.ReadWriteCloser, opts ...Option) (*Client, error) {
	o := newOptions(DefaultMaxLine, opts)
	var seed [4]byte
	_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
	c := &Client{
		conn:    conn,
		prefix:  hex.EncodeToString(seed[:]) + "-",
		write:   make(chan struct{}, 1),
		files:   make(chan struct{}, 1),
		pending: make(map[string]*call),
		events:  make(chan Event, EventQueue),
		done:    make(chan struct{}),
		in:      input{br: bufio.NewReaderSize(conn, 8<<10), limit: o.maxLine},
	}
	ctx, cancel := withTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := c.handshake(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

// Greeting is what QEMU said when the connection began.
func (c *Client) Greeting() Greeting { return c.greeting }

// Execute runs cmd with args (a value that marshals to a JSON object, or nil) and decodes what it returns into result (nil: ignored). It waits until ctx ends, without a
// deadline there for CommandTimeout(cmd). The error names cmd, never its arguments; it is, by errors.Is and As, an *Error (QEMU refused),
// context.DeadlineExceeded (no answer; the connection stays usable and skips the late answer, but the command may still be carried out),
// or ErrClosed.
func (c *Client) Execute(ctx context.Context, cmd string, args, result any) error {
	return c.execute(ctx, request{Execute: cmd}, args, result, nil)
}

// ExecuteWithFile is Execute with a file descriptor beside the command, for add-fd and getfd. f stays the caller's. The connection
// has to be a unix socket. One file is under way at a time, because QEMU keeps only the newest it received.
func (c *Client) ExecuteWithFile(ctx context.Context, cmd string, args, result any, f *os.File) error {
	return c.execute(ctx, request{Execute: cmd}, args, result, f)
}

// HMP runs a line of the human monitor and returns what it prints, error messages included: they are not told apart there.
func (c *Client) HMP(ctx context.Context, line string) (string, error) {
	var out string
	err := c.Execute(ctx, "human-monitor-command", struct {
		Line string `json:"command-line"`
	}{line}, &out)
	return out, err
}

func (c *Client) execute(ctx context.Context, req request, args, result any, f *os.File) error {
	cmd := req.Execute + req.OutOfBand
	var err error
	if req.Arguments, err = encodeArgs(args); err != nil {
		return fmt.Errorf("run %q: %w", cmd, err)
	}
	value, err := c.roundTrip(ctx, cmd, req, f)
	if err != nil {
		return fmt.Errorf("run %q: %w", cmd, err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(value, result); err != nil {
		return fmt.Errorf("run %q: decode the answer: %w", cmd, err)
	}
	return nil
}

func (c *Client) roundTrip(ctx context.Context, cmd string, req request, f *os.File) (json.RawMessage, error) {
	start := time.Now()
	ctx, cancel := withTimeout(ctx, CommandTimeout(cmd))
	defer cancel()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	req.ID = c.nextID()
	line, err := encode(req)
	if err != nil {
		return nil, err
	}
	if f != nil {
		if err := c.acquire(ctx, c.files); err != nil {
			return nil, late(err, "an earlier file is still unanswered", start)
		}
	}
	wait, err := c.expect(req.ID, f != nil)
	if err != nil {
		return nil, err
	}
	if err := c.send(ctx, line, f, start); err != nil {
		c.abandon(req.ID, true)
		return nil, err
	}
	var r *reply
	select {
	case r = <-wait:
	case <-c.done:
	case <-ctx.Done():
	}
	if r == nil {
		// An answer that is there counts, whatever else happened at the same time: quit is answered right before the end.
		select {
		case r = <-wait:
		default:
			c.abandon(req.ID, false)
			if err := c.Err(); err != nil {
				return nil, err
			}
			return nil, late(ctx.Err(), "no answer", start)
		}
	}
	if r.err != nil {
		return nil, &Error{Class: r.err.Class, Desc: printable(blankSecrets(r.err.Desc, req.Arguments))}
	}
	return r.value, nil
}

func (c *Client) nextID() string { return c.prefix + strconv.FormatUint(c.seq.Add(1), 10) }

// late words a wait that its context ended.
func late(err error, what string, start time.Time) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s after %v: %w", what, since(start), err)
	}
	return err
}

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }

// expect registers an answer to come.
func (c *Client) expect(id string, file bool) (<-chan *reply, error) {
	call := &call{answer: make(chan *reply, 1), file: file}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.pending[id] = call
	return call.answer, nil
}

// abandon forgets a command. One that was sent with a file keeps its place until QEMU answers: a second file would replace the first
// before QEMU took it.
func (c *Client) abandon(id string, unsent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.pending[id]
	if call == nil || call.file && !unsent {
		return
	}
	delete(c.pending, id)
	if call.file {
		<-c.files
	}
}

// Events gives what QEMU reports, oldest first. At most EventQueue wait; of more the oldest are lost (Dropped). It is closed after the end of the
// connection; what is still queued can be read. Several readers share the events between them.
func (c *Client) Events() <-chan Event { return c.events }

// Dropped counts the events lost because nobody read them in time.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// Strays counts the answers skipped because no command waited for them: those of commands given up, and of an earlier client's.
func (c *Client) Strays() uint64 { return c.strays.Load() }

// Done is closed when the connection has ended and nothing more will be read.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil while the connection lives, ErrClosed after Close, else an error that is ErrClosed and holds the cause: io.EOF, *ProtocolError,
// a socket's error.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits until nothing of it runs. Commands under way return ErrClosed. It may be called again, and returns nil always.
func (c *Client) Close() error {
	c.end(ErrClosed)
	<-c.done
	return nil
}

// end closes the connection for a reason; the first one counts.
func (c *Client) end(reason error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = reason
	}
	c.mu.Unlock()
	if first {
		_ = c.conn.Close() // nothing was promised about bytes on their way
	}
}

// read is the connection's goroutine: it alone reads, and it never waits for anyone but the peer.
func (c *Client) read() {
	defer close(c.done)
	defer close(c.events)
	for {
		m, err := c.in.next()
		if err != nil {
			c.end(err)
			return
		}
		c.take(m)
	}
}

func (c *Client) take(m message) {
	if m.event != nil {
		c.enqueue(*m.event)
	} else {
		c.deliver(m.reply)
	}
}

func (c *Client) deliver(r *reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.pending[r.id]
	if call == nil {
		c.strays.Add(1)
		return
	}
	delete(c.pending, r.id)
	call.answer <- r
	if call.file {
		<-c.files
	}
}
