package hostcmd

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// configure writes the files of a host and a guest as kvmctl would find them.
func configure(t *testing.T, h *vm.Host, specs ...*vm.Spec) {
	t.Helper()
	put(t, filepath.Join(h.EtcDir(), "kvm.toml"), []byte("uid_base = "+strconv.Itoa(h.UIDBase)+"\n[defaults]\naccel = \"tcg\"\n"))
	s, err := configs.Load(t.Context(), h.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range specs {
		put(t, h.GuestToml(spec.Name), configs.RenderGuest(*spec, s.Host))
	}
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// environ is a test's own environment.
func environ(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// kvmctl runs a command without a terminal.
func kvmctl(t *testing.T, h *vm.Host, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.Patience)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.WriteString(w, stdin); err != nil { // fits into the pipe
		t.Fatal(err)
	}
	w.Close()
	var out, talk bytes.Buffer
	code = Main(ctx, &cli.Env{Prog: "kvmctl", Args: append([]string{"--root", h.Root}, args...), In: r, Out: &out, Err: &talk, Get: environ(nil)})
	return code, out.String(), withoutRoot(h, talk.String())
}

// withoutRoot takes the --root of a test's host out of hints; that they repeat it, cmd/kvmctl's pure/root.txtar shows.
func withoutRoot(h *vm.Host, talk string) string {
	return strings.ReplaceAll(talk, "kvmctl --root "+h.Root+" ", "kvmctl ")
}

// screen is a terminal with kvmctl on it.
type screen struct {
	t        *testing.T
	keyboard *os.File // the terminal's other side
	tty      *os.File
	before   unix.Termios
	leave    context.CancelFunc
	exited   chan struct{}
	code     int

	mu   sync.Mutex
	all  []byte
	read int
	more chan struct{} // closed and replaced when something came
}

// onScreen runs a command on a terminal of its own.
func onScreen(t *testing.T, h *vm.Host, args ...string) *screen {
	t.Helper()
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 50, Cols: 160}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &screen{t: t, keyboard: keyboard, tty: tty, leave: cancel, exited: make(chan struct{}), more: make(chan struct{})}
	s.before = s.termios()
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.all = append(s.all[:s.read:s.read], withoutRoot(h, string(s.all[s.read:])+string(buf[:n]))...)
			close(s.more)
			s.more = make(chan struct{})
			s.mu.Unlock()
		}
	}()
	go func() {
		s.code = Main(ctx, &cli.Env{Prog: "kvmctl", Args: append([]string{"--root", h.Root}, args...), In: tty, Out: tty, Err: tty, Get: environ(nil)})
		close(s.exited)
	}()
	t.Cleanup(func() {
		cancel()
		<-s.exited
		tty.Close()
		keyboard.Close()
		<-reading
		if t.Failed() {
			t.Logf("kvmctl %s:\n%q", strings.Join(args, " "), s.all)
		}
	})
	return s
}

func (s *screen) termios() unix.Termios {
	s.t.Helper()
	raw, err := s.tty.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	var got *unix.Termios
	if cerr := raw.Control(func(fd uintptr) { got, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) }); cerr != nil || err != nil {
		s.t.Fatal(cerr, err)
	}
	return *got
}

// expect waits for text that was not there before the last expect, and returns its match.
func (s *screen) expect(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(vmtest.Patience)
	for {
		s.mu.Lock()
		text, more := s.all[s.read:], s.more
		if at := re.FindSubmatchIndex(text); at != nil {
			var match []string
			for i := 0; i < len(at); i += 2 {
				match = append(match, string(text[at[i]:at[i+1]]))
			}
			s.read += at[1]
			s.mu.Unlock()
			return match
		}
		s.mu.Unlock()
		select {
		case <-more:
		case <-timeout:
			s.t.Fatalf("wait for %q: not seen in time", pattern)
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

func (s *screen) typed(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keyboard, keys); err != nil {
		s.t.Fatalf("type: %v", err)
	}
}

// exit waits for the end of kvmctl, which has to leave the terminal as it was.
func (s *screen) exit(want int) {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(vmtest.Patience):
		s.t.Fatal("kvmctl does not return")
	}
	if s.code != want {
		s.t.Errorf("exit code %d, want %d", s.code, want)
	}
	if s.termios() != s.before {
		s.t.Errorf("the terminal was left changed: %+v, was %+v", s.termios(), s.before)
	}
}
