package qmp

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// DefaultAgentMaxLine bounds one answer of a guest agent, which runs in the guest and may send anything.
const DefaultAgentMaxLine = 1 << 20

// Deadlines that hold when the caller's context has none.
const (
	agentSync     = time.Second            // an agent that runs answers a sync or a ping within milliseconds
	agentCommand  = 5 * time.Second        // other commands
	agentFreeze   = 60 * time.Second       // guest-fsfreeze-* and guest-fstrim write to the guest's disks
	agentExec     = 10 * time.Minute       // guest-exec* may carry 40 MiB; an emulated guest was seen to move 100 KiB a second
	agentShutdown = 500 * time.Millisecond // how long a refusal of guest-shutdown may take; success has no answer
)

// staleLines bounds what is thrown away while looking for an answer to our sync, in lines of the greatest length: more is no old answer but a flood.
const staleLines = 4

// Agent is a connection to the QEMU guest agent. Its methods may be called from several goroutines, one command is under way at a time. It has
// no goroutine.
type Agent struct {
	conn  net.Conn
	limit int
	turn  chan struct{} // holds the token of the one who speaks

	// Held by the turn's owner.
	br     *bufio.Reader
	offset int64 // bytes read, for ProtocolError
	synced bool  // false after a command that was not answered: what comes next may be its late answer
	err    error // why the connection is over
}

// DialAgent connects to the agent's channel on the unix socket path and synchronizes with the agent: ErrNoAgent when nobody inside answers
// before ctx ends (1 s when ctx has no deadline). QEMU takes the connection whether or not there is an agent.
func DialAgent(ctx context.Context, path string, opts ...Option) (*Agent, error) {
	ctx, cancel := withTimeout(ctx, agentSync)
	defer cancel()
	conn, err := DialUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connect to the guest agent: %w", err)
	}
	a, err := NewAgent(ctx, conn, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to the guest agent %q: %w", path, err)
	}
	return a, nil
}

// NewAgent is DialAgent on an open connection, which it owns, also when it fails.
func NewAgent(ctx context.Context, conn net.Conn, opts ...Option) (*Agent, error) {
	o := newOptions(DefaultAgentMaxLine, opts)
	a := &Agent{conn: conn, limit: o.maxLine, turn: make(chan struct{}, 1), br: bufio.NewReader(conn)}
	ctx, cancel := withTimeout(ctx, agentSync)
	defer cancel()
	err := a.locked(ctx, func(context.Context) error { return nil })
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return a, nil
}

// Close ends the connection; a command under way returns an error. It returns nil always.
func (a *Agent) Close() error {
	_ = a.conn.Close() // nothing was promised about bytes on their way
	return nil
}

// Execute runs cmd and decodes what it returns into result (nil: ignored). It waits until ctx ends, 5 s without a deadline there (60 s for
// guest-fsfreeze-* and guest-fstrim). The error names cmd, never its arguments; it is an *Error (refused), ErrNoAgent (the agent no
// longer answers a sync), context.DeadlineExceeded, or ErrClosed. After an error without an answer the next command synchronizes anew.
func (a *Agent) Execute(ctx context.Context, cmd string, args, result any) error {
	ctx, cancel := withTimeout(ctx, agentTimeout(cmd))
	defer cancel()
	value, err := a.command(ctx, cmd, args)
	if err == nil && result != nil {
		if err = json.Unmarshal(value, result); err != nil {
			err = fmt.Errorf("decode the answer: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("run %q in the guest: %w", cmd, err)
	}
	return nil
}

func agentTimeout(cmd string) time.Duration {
	switch cmd {
	case "guest-ping", "guest-sync", "guest-sync-delimited":
		return agentSync
	case "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list", "guest-fsfreeze-thaw", "guest-fstrim":
		return agentFreeze
	case "guest-exec", "guest-exec-status":
		return agentExec
	}
	return agentCommand
}

func (a *Agent) command(ctx context.Context, cmd string, args any) (json.RawMessage, error) {
	raw, err := encodeArgs(args)
	if err != nil {
		return nil, err
	}
	line, err := encode(request{Execute: cmd, Arguments: raw})
	if err != nil {
		return nil, err
	}
	var value json.RawMessage
	err = a.locked(ctx, func(ctx context.Context) error {
		start := time.Now()
		a.synced = false
		if err := a.write(line); err != nil {
			return a.worded(ctx, err, "the guest takes no command", start)
		}
		r, err := a.reply()
		if err != nil {
			return a.worded(ctx, err, "no answer", start)
		}
		a.synced = true
		if r.err != nil {
			return &Error{Class: r.err.Class, Desc: printable(blankSecrets(r.err.Desc, raw))}
		}
		value = r.value
		return nil
	})
	return value, err
}

// locked runs f as the one speaker on a synchronized connection whose reads and writes end with ctx.
func (a *Agent) locked(ctx context.Context, f func(context.Context) error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	start := time.Now()
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return late(ctx.Err(), "an earlier command is under way", start)
	}
	defer func() { <-a.turn }()
	if a.err != nil {
		return a.err
	}
	ran := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ran)
		_ = a.conn.SetDeadline(longAgo)
	})
	defer func() {
		if !stop() {
			<-ran
			_ = a.conn.SetDeadline(time.Time{})
		}
	}()
	if !a.synced {
		if err := a.sync(ctx); err != nil {
			return err
		}
	}
	return f(ctx)
}

// sync finds the place in the stream from where answers are ours (guest-sync-delimited, qga/qapi-schema.json): the byte 0xFF makes the agent's parser drop half a
// command, and the agent puts one before its answer, which carries our number.
func (a *Agent) sync(ctx context.Context) error {
	start := time.Now()
	var seed [8]byte
	_, _ = rand.Read(seed[:])                                        // never fails (crypto/rand)
	id := int64(binary.BigEndian.Uint64(seed[:]) &^ (1 << 63) >> 11) // exact as a JavaScript number, too
	line, err := encode(request{Execute: "guest-sync-delimited", Arguments: fmt.Appendf(nil, `{"id":%d}`, id)})
	if err == nil {
		err = a.write(append([]byte{0xFF}, line...))
	}
	if err == nil {
		err = a.findSync(id)
	}
	if err != nil {
		err = a.worded(ctx, err, "no answer to a sync", start)
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %w", ErrNoAgent, err)
		}
		return fmt.Errorf("synchronize with the guest agent: %w", err)
	}
	a.synced = true
	return nil
}

// findSync reads until the answer that carries id. All before is stale or garbage.
func (a *Agent) findSync(id int64) error {
	for limit := a.offset + int64(staleLines*a.limit); a.offset < limit; {
		line, err := a.line()
		var bad errLine
		if errors.As(err, &bad) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := decode(line)
		if err != nil || m.reply == nil || m.reply.err != nil {
			continue
		}
		var got int64
		if json.Unmarshal(m.reply.value, &got) == nil && got == id {
			return nil
		}
	}
	return errLine("a flood in place of an answer to guest-sync-delimited")
}

// reply reads the answer to the one command under way. Anything else ends the connection.
func (a *Agent) reply() (*reply, error) {
	line, err := a.line()
	if err != nil {
		return nil, err
	}
	m, err := decode(line)
	if err != nil {
		return nil, err
	}
	if m.reply == nil {
		return nil, errLine("no answer but another line")
	}
	return m.reply, nil
}

// line reads one line; a 0xFF in it empties it, as it does the agent's own parser. A line too long is read to its end, so that a sync can go on behind it.
func (a *Agent) line() ([]byte, error) {
	var line []byte
	long := false
	for n := int64(1); ; n++ {
		b, err := a.br.ReadByte()
		if err != nil {
			return nil, err
		}
		a.offset++
		switch {
		case b == 0xFF:
			line, long = line[:0], false
		case b == '\n' && long:
			return nil, errLine(fmt.Sprintf("a line longer than %d bytes", a.limit))
		case b == '\n':
			if k := len(line); k > 0 && line[k-1] == '\r' {
				line = line[:k-1]
			}
			return line, nil
		case len(line) >= a.limit:
			long = true
		default:
			line = append(line, b)
		}
		if n >= int64(staleLines*a.limit) {
			return nil, &floodError{n}
		}
	}
}

// floodError is a line without an end. It is no errLine: there is no next line to go on with.
type floodError struct{ n int64 }

func (e *floodError) Error() string { return fmt.Sprintf("a line longer than %d bytes", e.n) }

func (a *Agent) write(line []byte) error {
	n, err := a.conn.Write(line)
	if n > 0 && n < len(line) {
		a.synced = false
	}
	return err
}

// worded gives an error its final form, and ends the connection at one that is not just a deadline.
func (a *Agent) worded(ctx context.Context, err error, what string, start time.Time) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return late(ctx.Err(), what, start)
	}
	var bad errLine
	var flood *floodError
	switch {
	case errors.As(err, &bad), errors.As(err, &flood):
		err = &ProtocolError{Offset: a.offset, Reason: err.Error()}
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		err = net.ErrClosed
	}
	a.err = &closedError{err}
	_ = a.conn.Close()
	return a.err
}
