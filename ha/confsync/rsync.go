package confsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"kvmctl/internal/child"
)

// wireFlags are what rsync(1) puts on the wire of -rlptgo toward a sender; the capabilities behind e. are those of rsync 3.1 and later.
const wireFlags = "-logtpre.LsfxC"

// pull runs rsync toward what lies beside a path: a file toward its staged place, of a directory what differs and all directories. It gives the names of
// all that the source has in a directory.
func (e *Engine) pull(ctx context.Context, job Job, i int) (listed map[string]bool, err error) {
	p := job.Paths[i]
	shell, source := e.Source(job, i)
	next := placeOf(p, staged)
	argv := []string{"rsync", "-rlptgo", "--numeric-ids", "--no-protect-args", e.timeout(),
		"--modify-window=-1", // compares nanoseconds: a file may change twice in a second
		"--chmod=Fug-s"}      // configuration is no program that runs as its owner
	if shell != "" {
		argv = append(argv, "-e", shell)
	}
	if directory(p) {
		next = placeOf(p, arrived) + "/"
		argv = append(argv, "-8", "-ii", listFormat, "--compare-dest="+filepath.Clean(p)+"/")
		for _, x := range job.Exclude {
			if strings.Contains(x, "/") {
				x = "/" + strings.Trim(x, "/")
			}
			argv = append(argv, "--exclude="+x)
		}
	}
	var out listing
	said, err := execute(ctx, append(argv, "--", source, next), false, &out)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("pull %s on this node: %w", p, &NoRsyncError{})
	}
	if err == nil && said.exit == 0 {
		err = out.err
	}
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", p, err)
	}
	if said.exit != 0 {
		return nil, fmt.Errorf("pull %s: rsync ends with %d: %s", p, said.exit, said.text)
	}
	return out.names, nil
}

// silence is how long rsync waits for the other end when nothing comes, as it does from a node that died.
const silence = time.Minute

func (e *Engine) timeout() string {
	return fmt.Sprintf("--timeout=%d", int(cmp.Or(e.Silence, silence).Seconds()))
}

// NoRsyncError says that the program is not there.
type NoRsyncError struct{}

func (e *NoRsyncError) Error() string { return "rsync is not installed" }

// Hint says how it comes.
func (e *NoRsyncError) Hint() string { return "apt-get install rsync" }

// underNew binds what is staged over its place, pair by pair up to a --, for whoever comes then; it has mounts of its own.
const underNew = `while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"`

// validate asks a job's command about the new files, which it sees at their places.
func (e *Engine) validate(ctx context.Context, job Job) error {
	if len(job.Validate) == 0 {
		return nil
	}
	e.step("validate")
	argv := []string{"/bin/sh", "-c", underNew, "sh"}
	for _, p := range job.Paths {
		argv = append(argv, filepath.Join(beside(p), staged), filepath.Clean(p))
	}
	said, err := execute(ctx, append(append(argv, "--"), job.Validate...), true, nil)
	if err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	if said.exit != 0 {
		return &InvalidError{job.Validate, said.text}
	}
	return nil
}

// reload tells whoever uses the files.
func (e *Engine) reload(ctx context.Context, argv []string) error {
	if len(argv) == 0 {
		return nil
	}
	var err error
	if u := unitOf(argv); u != "" {
		err = e.reloadUnit(ctx, u)
	} else {
		var said said
		if said, err = execute(ctx, argv, false, nil); err == nil && said.exit != 0 {
			err = fmt.Errorf("it ends with %d: %s", said.exit, said.text)
		}
	}
	if err != nil {
		return fmt.Errorf("the new files are in place, but not in use: %s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// unitWait bounds the reload of a unit.
const unitWait = 2 * time.Minute

func (e *Engine) reloadUnit(ctx context.Context, name string) error {
	if e.Unit == nil {
		return errNoSystemd
	}
	ctx, cancel := context.WithTimeout(ctx, unitWait)
	defer cancel()
	return e.Unit(ctx, name)
}

var errNoSystemd = errors.New("there is no systemd here")

// said is what a program left.
type said struct {
	exit int
	text string // the end of both its outputs, printable, its lines joined by semicolons
}

// maxSaid bounds what is kept of a program's words, in bytes.
const maxSaid = 2 << 10

// grace is how long a program's own children may keep its output open.
const grace = 2 * time.Second

// execute runs a program, whose output goes to list where there is one.
func execute(ctx context.Context, argv []string, mounts bool, list *listing) (said, error) {
	runtime.LockOSThread() // the parent-death signal comes when the thread that forked ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	if list != nil {
		cmd.Stdout = list
	}
	cmd.SysProcAttr, cmd.WaitDelay, cmd.Dir = apart(mounts), grace, "/"
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if ctx.Err() != nil {
		return said{}, context.Cause(ctx)
	}
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well, and left a daemon that has its output
		err = nil
	}
	if status, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return said{}, err
	} else if ok {
		return said{status.ExitCode(), out.String()}, nil
	}
	return said{0, out.String()}, nil
}

// tail keeps the end of what is written.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxSaid; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// String joins the lines, each of which is cut by itself: dhcpd has five of its own before it says what is wrong.
func (t *tail) String() string {
	var lines []string
	for line := range strings.Lines(string(t.kept)) {
		if line = child.Printable(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// Serve is the source's end: it runs rsync's sender for one declared path, with an argv of its own, on a connection that it closes.
func Serve(ctx context.Context, c io.ReadWriteCloser, path string) error {
	defer c.Close()
	if err := Offered(path); err != nil {
		return err
	}
	runtime.LockOSThread() // as in execute
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "rsync", "--server", "--sender", wireFlags, "--numeric-ids", "--timeout=60", ".", path)
	cmd.SysProcAttr, cmd.WaitDelay, cmd.Dir = apart(false), grace, "/"
	var words tail
	cmd.Stderr = &words
	cmd.Stdout = c
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run rsync: %w", err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer in.Close()
		_, _ = io.Copy(in, c) // ends with the connection
	})
	err = cmd.Wait()
	c.Close()
	reading.Wait()
	if err != nil {
		return fmt.Errorf("send %s: %w: %s", path, err, words.String())
	}
	return nil
}

// Offered reports whether there is an rsync, and whether a declared path is what the file says it is; a link in its place is followed nowhere.
func Offered(path string) error {
	if _, err := exec.LookPath("rsync"); err != nil {
		return &NoRsyncError{}
	}
	info, err := os.Lstat(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("offer %s: %w", path, err)
	}
	if directory(path) != info.IsDir() || !info.IsDir() && !info.Mode().IsRegular() {
		return &KindError{path}
	}
	return nil
}
