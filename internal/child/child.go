package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// MaxOutput is how much is kept of a program's output, in bytes: the end, where programs say why they gave up.
const MaxOutput = 4 << 10

// maxReason bounds the line that becomes a reason, in bytes.
const maxReason = 200

// DefaultGrace is how long a group has between SIGTERM and SIGKILL.
const DefaultGrace = 2 * time.Second

// Umask is every program's: files of services are made as they are by an init script at boot.
const Umask = 0o022

// environment is what every program gets; Command.Env comes after it.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/"}

// Command is one program to run.
type Command struct {
	Argv []string // Argv[0] is a path, or a name looked up in the PATH of the program's own environment
	Env  []string // KEY=value, beside PATH, LC_ALL and HOME, which are always the same

	Stdin *os.File // its standard input, which stays the caller's to close; nil: nothing

	// Grace is the time between SIGTERM and SIGKILL when ctx ends; 0: SIGKILL at once.
	Grace time.Duration

	// Leave lets what the program left in the background live when it ended by itself, as a script that starts a daemon needs it; it
	// also lets the program survive this process. Otherwise its whole group ends with it, and with this process.
	Leave bool
}

// Result is what a program left.
type Result struct {
	Output []byte         // the end of stdout and stderr together, at most MaxOutput bytes
	Exit   int            // exit status; -1 when a signal ended it
	Signal syscall.Signal // that signal; 0: none
}

// Reason is the last line of the output that says anything, in one printable line of at most 200 bytes; "" if there is none.
func (r Result) Reason() string {
	lines := strings.Split(strings.ReplaceAll(string(r.Output), "\r", "\n"), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if line := Printable(lines[i]); line != "" {
			return line
		}
	}
	return ""
}

// Err is nil after exit 0, and else an *ExitError.
func (r Result) Err() error {
	if r.Exit == 0 {
		return nil
	}
	return &ExitError{Exit: r.Exit, Signal: r.Signal, Reason: r.Reason()}
}

// ExitError is a program that ended other than with 0.
type ExitError struct {
	Exit   int            // -1: by Signal
	Signal syscall.Signal // 0: none
	Reason string         // its last line; may be empty
}

func (e *ExitError) Error() string {
	what := fmt.Sprintf("exit %d", e.Exit)
	if e.Exit < 0 {
		what = "ended by signal " + e.Signal.String()
	}
	if e.Reason == "" {
		return what
	}
	return what + ": " + e.Reason
}

// TimeoutError is a program that was killed with its group because its context ended. It wraps the context's cause.
type TimeoutError struct {
	Argv0  string
	After  time.Duration // how long it had run
	Reason string        // its last line until then; may be empty
	Cause  error         // of the context
}

func (e *TimeoutError) Error() string {
	what := "broken off"
	if errors.Is(e.Cause, context.DeadlineExceeded) {
		what = "no end"
	}
	s := fmt.Sprintf("%s: %s after %v, killed with its group", e.Argv0, what, e.After.Round(10*time.Millisecond))
	if e.Reason != "" {
		s += "; it last said: " + e.Reason
	}
	return s
}

// Unwrap gives the cause.
func (e *TimeoutError) Unwrap() error { return e.Cause }

// ErrNoProgram says that a command names none.
var ErrNoProgram = errors.New("no program named")

// Printable makes one line of at most 200 bytes out of what came from outside: control characters become spaces, what is no UTF-8 the
// replacement character.
func Printable(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), MaxOutput)], "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason-len("…")], "") + "…"
}

// tail keeps the last MaxOutput bytes.
type tail struct{ kept []byte }

func (t *tail) add(p []byte) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - MaxOutput; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
}

// lookPath finds a program in the PATH of environment, not in that of whoever started this process.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path, _ := strings.CutPrefix(environment[0], "PATH=")
	for dir := range strings.SplitSeq(path, ":") {
		p := dir + "/" + name
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w in %s", os.ErrNotExist, path)
}
