// Package runnertest gives a Runner that executes nothing: it answers the commands it was told of, and any other fails the test.
package runnertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"kvmctl/internal/runner"
)

// Reply is what a command of the script does.
type Reply struct {
	Argv   []string // each element as given; one "*" inside stands for any text
	Stdout string
	Stderr string
	Exit   int
	Err    error                     // of the runner's: the command could not run
	Do     func(argv []string) error // its effect, before it ends; nil: none
}

// Script is a runner.Runner over replies. Every reply serves any number of times, and has to serve at least once.
type Script struct {
	t       testing.TB
	replies []Reply

	mu   sync.Mutex
	used []int
	ran  [][]string
}

// New gives a Runner that knows just the replies; the first that matches a command answers it.
func New(t testing.TB, replies ...Reply) *Script {
	t.Helper()
	s := &Script{t: t, replies: replies, used: make([]int, len(replies))}
	t.Cleanup(func() {
		for i, n := range s.used {
			if n == 0 {
				t.Errorf("script: never run: %q", s.replies[i].Argv)
			}
		}
	})
	return s
}

// Run implements runner.Runner.
func (s *Script) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	s.t.Helper()
	if ctx.Err() != nil {
		return runner.Result{}, fmt.Errorf("execute %s: %w", c.Argv[0], context.Cause(ctx))
	}
	r, ok := s.find(c.Argv)
	if !ok {
		s.t.Errorf("script: unknown command: %q", c.Argv)
		return runner.Result{}, fmt.Errorf("execute %s: not in the script", c.Argv[0])
	}
	if r.Err != nil {
		return runner.Result{}, r.Err
	}
	if r.Do != nil {
		if err := r.Do(c.Argv); err != nil {
			return runner.Result{}, err
		}
	}
	if c.Stdout != nil {
		if _, err := c.Stdout.Write([]byte(r.Stdout)); err != nil {
			return runner.Result{}, err
		}
	}
	out := []byte(r.Stdout)
	kept := out[:min(len(out), runner.MaxStdout)]
	return runner.Result{Stdout: kept, Stderr: []byte(r.Stderr), Truncated: len(kept) < len(out), Exit: r.Exit}, nil
}

// Ran gives the commands so far, in order.
func (s *Script) Ran() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]string(nil), s.ran...)
}

func (s *Script) find(argv []string) (Reply, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran = append(s.ran, append([]string(nil), argv...))
	for i, r := range s.replies {
		if match(r.Argv, argv) {
			s.used[i]++
			return r, true
		}
	}
	return Reply{}, false
}

func match(want, argv []string) bool {
	if len(want) != len(argv) {
		return false
	}
	for i := range want {
		before, after, wild := strings.Cut(want[i], "*")
		switch {
		case !wild && want[i] != argv[i]:
			return false
		case wild && (len(argv[i]) < len(before)+len(after) || !strings.HasPrefix(argv[i], before) || !strings.HasSuffix(argv[i], after)):
			return false
		}
	}
	return true
}
