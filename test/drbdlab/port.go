package drbdlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"kvmctl/internal/runner"
	"kvmctl/test/drbdlab/wire"
)

// Port runs programs inside a guest. It implements runner.Runner, and is safe for concurrent use.
type Port struct {
	conn io.ReadWriteCloser

	mu     sync.Mutex // of writes, and of what follows
	last   uint32
	runs   map[uint32]*running
	hello  chan []byte
	ended  error
	closed chan struct{}
}

type running struct {
	stdout io.Writer
	out    runner.Result
	done   chan struct{}
	err    error
}

// errPort says that the guest, or its port, has gone.
var errPort = errors.New("the guest's port has gone")

// Connect dials a guest's port, a unix socket or a TCP address, until whoever serves it inside answers.
func Connect(ctx context.Context, network, address string) (*Port, error) {
	for {
		p, err := connect(ctx, network, address)
		if err == nil {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the guest at %s: %w: %w", address, context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func connect(ctx context.Context, network, address string) (*Port, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p := &Port{conn: conn, runs: map[uint32]*running{}, hello: make(chan []byte, 1000), closed: make(chan struct{})}
	go p.read()
	// Before the guest has opened its end, what is written is dropped or kept as QEMU likes: so it is asked until it answers this very question.
	for begin := time.Now(); time.Since(begin) < 60*time.Second && ctx.Err() == nil; {
		mark := []byte(time.Now().String())
		if err := p.write(wire.Frame{Kind: wire.Hello, Data: mark}); err != nil {
			break
		}
		if p.answers(ctx, mark) {
			return p, nil
		}
	}
	p.Close()
	return nil, fmt.Errorf("%w: it does not answer", errPort)
}

// answers reports whether the guest answers a question soon; answers to earlier ones are passed over.
func (p *Port) answers(ctx context.Context, mark []byte) bool {
	late := time.After(200 * time.Millisecond)
	for {
		select {
		case got := <-p.hello:
			if bytes.Equal(got, mark) {
				return true
			}
		case <-late:
			return false
		case <-p.closed:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Close ends the port; what runs inside goes on.
func (p *Port) Close() {
	p.conn.Close()
	<-p.closed
}

func (p *Port) write(f wire.Frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return wire.Write(p.conn, f)
}

func (p *Port) read() {
	var err error
	defer close(p.closed)
	for {
		var f wire.Frame
		if f, err = wire.Read(p.conn); err != nil {
			break
		}
		if f.Kind == wire.Hello {
			select {
			case p.hello <- f.Data:
			default:
			}
			continue
		}
		p.took(f)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = err
	for id, r := range p.runs {
		r.err = errPort
		close(r.done)
		delete(p.runs, id)
	}
}

func (p *Port) took(f wire.Frame) {
	p.mu.Lock()
	r := p.runs[f.ID]
	if f.Kind == wire.Exit {
		delete(p.runs, f.ID)
	}
	p.mu.Unlock()
	if r == nil {
		return
	}
	switch f.Kind {
	case wire.Stdout:
		if r.stdout != nil {
			_, _ = r.stdout.Write(f.Data) // its own affair
		}
		if room := runner.MaxStdout - len(r.out.Stdout); room < len(f.Data) {
			f.Data, r.out.Truncated = f.Data[:max(room, 0)], true
		}
		r.out.Stdout = append(r.out.Stdout, f.Data...)
	case wire.Stderr:
		r.out.Stderr = append(r.out.Stderr, f.Data...)
		r.out.Stderr = r.out.Stderr[max(0, len(r.out.Stderr)-runner.MaxStderr):]
	case wire.Exit:
		var end wire.Ended
		r.err = json.Unmarshal(f.Data, &end)
		if end.Error != "" {
			r.err = errors.New(end.Error)
		}
		r.out.Exit, r.out.Signal = end.Exit, syscall.Signal(end.Signal)
		close(r.done)
	}
}

// Run implements runner.Runner, inside the guest.
func (p *Port) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	return p.Exec(ctx, wire.Command{Argv: c.Argv}, c.Stdout)
}

// Exec is Run with standard input and environment. stdout gets the output as it comes; nil: nobody.
func (p *Port) Exec(ctx context.Context, c wire.Command, stdout io.Writer) (runner.Result, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return runner.Result{}, fmt.Errorf("execute %v: %w", c.Argv, err)
	}
	r := &running{stdout: stdout, done: make(chan struct{})}
	p.mu.Lock()
	if p.ended != nil {
		p.mu.Unlock()
		return runner.Result{}, fmt.Errorf("execute %v: %w", c.Argv, errPort)
	}
	p.last++
	id := p.last
	p.runs[id] = r
	p.mu.Unlock()
	if err := p.write(wire.Frame{ID: id, Kind: wire.Start, Data: data}); err != nil {
		return runner.Result{}, fmt.Errorf("execute %v: %w", c.Argv, err)
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		_ = p.write(wire.Frame{ID: id, Kind: wire.Kill}) // or the guest is gone
		p.mu.Lock()
		delete(p.runs, id)
		p.mu.Unlock()
		return runner.Result{}, fmt.Errorf("execute %v: %w", c.Argv, context.Cause(ctx))
	}
	if r.err != nil {
		return runner.Result{}, fmt.Errorf("execute %v: %w", c.Argv, r.err)
	}
	return r.out, nil
}
