package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"kvmctl/internal/runner"
	"kvmctl/test/drbdlab"
)

// asked is what is recorded of a guest, in this order.
var asked = []struct {
	name string
	argv []string
}{
	{"proc", []string{"cat", "/proc/drbd"}},
	{"status", []string{"drbdsetup", "status", "--verbose", "--statistics"}},
	{"events2-now", []string{"drbdsetup", "events2", "--now", "--statistics"}},
	{"log", []string{"sh", "-c", "dmesg | grep drbd || true"}},
}

// take asks a guest, again until its states were the same before and after: the forms are to tell of one moment. Numbers may differ.
func take(ctx context.Context, g *drbdlab.Guest) ([]txtar.File, error) {
	for range 20 {
		before, err := g.Run(ctx, runner.Command{Argv: asked[0].argv})
		if err != nil {
			return nil, err
		}
		files, err := takeOnce(ctx, g)
		if err != nil {
			return nil, err
		}
		after, err := g.Run(ctx, runner.Command{Argv: asked[0].argv})
		if err != nil {
			return nil, err
		}
		if states(before.Stdout) == states(after.Stdout) {
			return files, nil
		}
	}
	return nil, fmt.Errorf("%s does not stay in one state", g.Name)
}

func takeOnce(ctx context.Context, g *drbdlab.Guest) (files []txtar.File, err error) {
	for _, a := range asked {
		r, err := g.Run(ctx, runner.Command{Argv: a.argv})
		if err != nil {
			return nil, err
		}
		out := r.Stdout
		if r.Exit != 0 {
			out = append(out, fmt.Sprintf("exit %d: %s\n", r.Exit, bytes.TrimSpace(r.Stderr))...)
		}
		files = append(files, txtar.File{Name: g.Name + "/" + a.name, Data: out})
	}
	return files, nil
}

// states are the lines of /proc/drbd with a state in them.
func states(proc []byte) string {
	var lines []string
	for line := range strings.Lines(string(proc)) {
		if strings.Contains(line, "cs:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// stream is a `drbdsetup events2` that runs inside a guest.
type stream struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
	seen chan struct{} // of the last line of what there is at the start
}

// follow begins a stream, and returns when it has told what there is.
func follow(ctx context.Context, g *drbdlab.Guest) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{cancel: cancel, done: make(chan struct{}), seen: make(chan struct{})}
	go func() {
		defer close(s.done)
		_, _ = g.Run(ctx, runner.Command{Argv: []string{"drbdsetup", "events2", "--statistics"}, Stdout: s}) // cancelled at its end; without a module it fails at once
	}()
	select {
	case <-s.seen:
	case <-s.done:
	case <-time.After(time.Minute):
		cancel()
		<-s.done
		return nil, errors.New("events2 says nothing")
	}
	return s, nil
}

const startTold = "exists -\n"

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	select {
	case <-s.seen:
	default:
		if bytes.Contains(s.text.Bytes(), []byte(startTold)) {
			close(s.seen)
		}
	}
	return len(p), nil
}

// end gives what the stream said. It is given a moment first: what take saw before has been told by then, as the kernel tells it before a reader
// of /proc/drbd can see the state that comes next.
func (s *stream) end(ctx context.Context) []byte {
	select {
	case <-time.After(300 * time.Millisecond):
	case <-s.done:
	case <-ctx.Done():
	}
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Bytes()
}
