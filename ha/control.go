package ha

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ControlVersion is that of the lines on the control socket. Another one is refused, not guessed.
const ControlVersion = 1

// The bounds of the control socket.
const (
	maxRequest  = 64 << 10
	maxReply    = 4 << 20
	maxClients  = 16
	controlWait = 2 * time.Second // for a client's line, and for it to take the answer
)

// SwitchWait bounds how long a hand-over may take until it is answered: what stops slowly, and the wait for whoever takes it.
const SwitchWait = 5 * time.Minute

// Request is one line from a command to the agent.
type Request struct {
	Version  int      `json:"version"`
	Verb     Verb     `json:"verb"`
	Groups   []string `json:"groups,omitempty"`   // none: all
	On       bool     `json:"on,omitempty"`       // of VerbMaintenance
	Resource string   `json:"resource,omitempty"` // DRBD's
	Node     string   `json:"node,omitempty"`     // of VerbConfirmDead
	Who      string   `json:"who,omitempty"`      // who asked, for the log

	Resolve *ResolveRequest `json:"resolve,omitempty"` // of VerbResolve
}

// Verb is what a command asks for.
type Verb string

// The verbs.
const (
	VerbStatus      Verb = "status"
	VerbSwitch      Verb = "switch"
	VerbMaintenance Verb = "maintenance"
	VerbReload      Verb = "reload"
	VerbRestart     Verb = "restart"

	// Of storage, most of them for DRBD's handlers.
	VerbFencePeer    Verb = "fence-peer"
	VerbUnfence      Verb = "unfence"
	VerbBeforeResync Verb = "before-resync"
	VerbSplitBrain   Verb = "split-brain"
	VerbConfirmDead  Verb = "confirm-dead"
	VerbResolve      Verb = "resolve"
)

// Reply is the agent's line.
type Reply struct {
	Version int     `json:"version"`
	Error   string  `json:"error,omitempty"`
	Hint    string  `json:"hint,omitempty"`
	Refused bool    `json:"refused,omitempty"` // for safety
	Passing bool    `json:"passing,omitempty"` // refused, but not for long: worth asking again
	Usage   bool    `json:"usage,omitempty"`   // the request names what is not there, or the file is bad: nothing was done
	Exit    int     `json:"exit,omitempty"`    // what a handler of DRBD's is to exit with
	Status  *Status `json:"status,omitempty"`

	Resolve *ResolveAnswer `json:"resolve,omitempty"`
}

// NotRunningError says that no agent answers at a socket.
type NotRunningError struct {
	Path string
	Err  error
}

func (e *NotRunningError) Error() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return fmt.Sprintf("connect to %s: %v", e.Path, fs.ErrPermission)
	}
	return "no kvmha runs here: nobody listens at " + e.Path
}

// Unwrap gives what connect(2) said.
func (e *NotRunningError) Unwrap() error { return e.Err }

// Hint says how to start it.
func (e *NotRunningError) Hint() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return "only root may ask"
	}
	return "systemctl start kvmha, or in the foreground: kvmha run"
}

// Ask sends one request to the agent at a socket and gives its answer, or a *NotRunningError.
func Ask(ctx context.Context, path string, r Request) (Reply, error) {
	r.Version = ControlVersion
	short, done, err := shortSocket(path)
	if err != nil {
		return Reply{}, &NotRunningError{path, err}
	}
	defer done()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", short)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrPermission) {
		return Reply{}, &NotRunningError{path, err}
	}
	if err != nil {
		return Reply{}, fmt.Errorf("ask the agent: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })() // its deadline, and whoever is tired of waiting
	line, err := json.Marshal(r)
	if err != nil {
		return Reply{}, fmt.Errorf("ask the agent: %w", err)
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return Reply{}, fmt.Errorf("ask the agent: %w", cmp.Or(ctx.Err(), err))
	}
	var out Reply
	if err := readLine(c, maxReply, &out); err != nil {
		return Reply{}, fmt.Errorf("read the agent's answer: %w", cmp.Or(ctx.Err(), err))
	}
	if out.Version != ControlVersion {
		return Reply{}, fmt.Errorf("read the agent's answer: it speaks version %d, this program %d", out.Version, ControlVersion)
	}
	return out, nil
}

// ErrTooLong says that a line on the control socket is longer than its reader allows.
var ErrTooLong = errors.New("the line is too long")

// readLine reads one line of JSON with no key that v does not know.
func readLine(r io.Reader, limit int64, v any) error {
	line, err := bufio.NewReader(io.LimitReader(r, limit)).ReadBytes('\n')
	if int64(len(line)) >= limit && err != nil {
		return ErrTooLong
	}
	if err != nil {
		return fmt.Errorf("read a line: %w", err)
	}
	return decodeStrict(line, v)
}

func decodeStrict(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode a line: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode a line: there is more behind its value")
	}
	return nil
}

// ListenControl makes the control socket, for root alone, in a directory that it makes likewise. A socket that nobody listens at is replaced;
// at one where somebody does it fails with ErrRunning.
func ListenControl(ctx context.Context, dir, path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", dir, err)
	}
	short, done, err := shortSocket(path)
	if err != nil {
		return nil, err
	}
	defer done()
	switch c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", short); {
	case err == nil:
		c.Close()
		return nil, ErrRunning
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("look who listens at %s: %w", path, err) // somebody may, whose backlog is full, say
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // the process's umask is 077 already
		return nil, errors.Join(fmt.Errorf("make %s root's: %w", path, err), l.Close())
	}
	return l, nil
}

// maxSocket is the longest path that fits in a socket's address, in bytes (unix(7)).
const maxSocket = 100

// shortSocket gives a name for a socket whose path may be too long for an address: through a descriptor of its directory, until done is called.
func shortSocket(path string) (short string, done func(), err error) {
	if len(path) <= maxSocket {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, fmt.Errorf("open the socket's directory: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}

// ErrRunning says that another agent runs with the same directory.
var ErrRunning = errors.New("another kvmha runs here already")

// serveControl answers each client of l by one call of answer, until l is closed and the last client has gone.
func serveControl(l net.Listener, answer func(Request) Reply) {
	var clients sync.WaitGroup
	defer clients.Wait()
	room := make(chan struct{}, maxClients)
	for {
		room <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(100 * time.Millisecond) // no descriptor is free: it passes, or it does not
			<-room
			continue
		}
		clients.Go(func() {
			defer func() { c.Close(); <-room }()
			serveClient(c, answer)
		})
	}
}

func serveClient(c net.Conn, answer func(Request) Reply) {
	if c.SetDeadline(time.Now().Add(controlWait)) != nil {
		return
	}
	var r Request
	var out Reply
	switch err := readLine(c, maxRequest, &r); {
	case err != nil:
		out.Error = err.Error()
	case r.Version != ControlVersion:
		out.Error = fmt.Sprintf("the command speaks version %d, the agent %d", r.Version, ControlVersion)
		out.Hint = "systemctl restart kvmha, after an upgrade"
	default:
		out = answer(r)
		if c.SetDeadline(time.Now().Add(controlWait)) != nil {
			return
		}
	}
	out.Version = ControlVersion
	line, err := json.Marshal(out)
	if err != nil {
		return // the types hold nothing that cannot be marshalled
	}
	_, _ = c.Write(append(line, '\n')) // a client that has gone needs no answer
}
