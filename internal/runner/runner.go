// Package runner executes other programs: bounded in output, never outliving their caller, gone as a group when their context ends.
package runner

import (
	"context"
	"io"
	"strings"
	"syscall"
)

// Bounds of what is kept of a program's output, in bytes; the rest is read and dropped.
const (
	MaxStdout = 1 << 20  // the beginning
	MaxStderr = 16 << 10 // the end: that is where programs say why they gave up
)

// Command is one program to execute.
type Command struct {
	Argv   []string  // Argv[0] is a path, or a name looked up in PATH
	Stdin  []byte    // standard input, and then its end; nil: /dev/null. Unlike Argv nobody else on the machine sees it
	Stdout io.Writer // gets standard output as it comes, unbounded; nil: nobody
}

// String is the command as one line for people.
func (c Command) String() string { return strings.Join(c.Argv, " ") }

// Result is what a program left when it ended by itself or by a signal.
type Result struct {
	Stdout, Stderr []byte
	Truncated      bool           // of Stdout: there was more than MaxStdout
	Exit           int            // exit status; -1 when a signal ended it
	Signal         syscall.Signal // that signal; 0: none
}

// Runner executes a command and waits for its end. An error says that it could not be started, or that ctx ended it
// (then errors.Is finds ctx's cause); a program that ends with a non-zero status is no error of the runner's.
type Runner interface {
	Run(ctx context.Context, c Command) (Result, error)
}

// Exec is the Runner that executes. The zero value is ready.
type Exec struct{}

// head keeps the first max bytes.
type head struct {
	max       int
	kept      []byte
	truncated bool
	tee       io.Writer
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.max-len(h.kept))
	h.kept = append(h.kept, p[:n]...)
	h.truncated = h.truncated || n < len(p)
	if h.tee != nil {
		return h.tee.Write(p)
	}
	return len(p), nil
}

// tail keeps the last max bytes.
type tail struct {
	max  int
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.max; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}
