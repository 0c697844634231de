package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"kvmctl/vm/vmtest"
	"kvmctl/vm/vnctest"
)

// terminal is a person's terminal with kvmctl on it.
type terminal struct {
	keyboard *os.File // its other side
	cmd      *exec.Cmd
	before   *unix.Termios
	ended    chan struct{}

	mu   sync.Mutex
	all  string
	read int           // what the script has seen
	more chan struct{} // closed and replaced when something came
}

type terminals map[string]*terminal

func terminalsOf(ts *testscript.TestScript) terminals { return ts.Value("terminals").(terminals) }

// openTerminal is `terminal NAME ARGS...`.
func openTerminal(ts *testscript.TestScript, neg bool, args []string) {
	all := terminalsOf(ts)
	if neg || len(args) < 2 || all[args[0]] != nil {
		ts.Fatalf("usage: terminal NAME ARGS..., with a new name")
	}
	keyboard, tty, err := pty.Open()
	ts.Check(err)
	defer tty.Close()
	ts.Check(pty.Setsize(tty, &pty.Winsize{Rows: 50, Cols: 200}))
	t := &terminal{keyboard: keyboard, ended: make(chan struct{}), more: make(chan struct{})}
	t.before, err = t.modes()
	ts.Check(err)
	t.cmd = exec.Command(program(ts), append([]string{"--root", root(ts)}, args[1:]...)...)
	t.cmd.Dir, t.cmd.Env = ts.MkAbs("."), append(os.Environ(), "GORACE=atexit_sleep_ms=0", "TERM=xterm")
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = tty, tty, tty
	t.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(t.cmd.Start())
	all[args[0]] = t
	work := ts.Getenv("WORK")
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			if err != nil { // the last one has closed the terminal
				break
			}
			t.heard(string(buf[:n]), work)
		}
		_ = t.cmd.Wait() // its exit code is asked for by `left`
		close(t.ended)
	}()
	ts.Defer(func() {
		_ = t.cmd.Process.Kill() // an error means that it has ended
		<-t.ended
		keyboard.Close()
		ts.Logf("[terminal %s]\n%q", args[0], t.text())
	})
}

// modes reads how the terminal treats what is typed.
func (t *terminal) modes() (modes *unix.Termios, err error) {
	raw, err := t.keyboard.SyscallConn() // Fd would make reading block for ever
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) { modes, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	return modes, errors.Join(cerr, err)
}

func (t *terminal) heard(s, work string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rest := t.all[t.read:] + s
	rest = strings.ReplaceAll(strings.ReplaceAll(rest, work, "$WORK"), "kvmctl --root $WORK/r ", "kvmctl ")
	t.all = t.all[:t.read] + rest
	close(t.more)
	t.more = make(chan struct{})
}

func (t *terminal) text() string { t.mu.Lock(); defer t.mu.Unlock(); return t.all }

// program finds the kvmctl that testscript made.
func program(ts *testscript.TestScript) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		if st, err := os.Stat(dir + "/kvmctl"); err == nil && st.Mode().IsRegular() {
			return dir + "/kvmctl"
		}
	}
	ts.Fatalf("no kvmctl in PATH")
	return ""
}

func theTerminal(ts *testscript.TestScript, args []string) *terminal {
	if len(args) == 0 || terminalsOf(ts)[args[0]] == nil {
		ts.Fatalf("%q names no terminal", args)
	}
	return terminalsOf(ts)[args[0]]
}

// typeKeys is `types NAME KEYS`: KEYS is the inside of a Go string, such as ls\r.
func typeKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: types NAME KEYS")
	}
	keys, err := strconv.Unquote(`"` + strings.ReplaceAll(args[1], `"`, `\"`) + `"`)
	ts.Check(err)
	_, err = theTerminal(ts, args).keyboard.WriteString(keys)
	ts.Check(err)
}

// waitShown is `shows NAME REGEXP`: text that has not been seen yet. `! shows` looks at all that was ever shown.
func waitShown(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] shows NAME REGEXP")
	}
	t, re := theTerminal(ts, args), regexp.MustCompile(args[1])
	if neg {
		if all := t.text(); re.MatchString(all) {
			ts.Fatalf("terminal %s shows %q:\n%q", args[0], args[1], all)
		}
		return
	}
	timeout := time.After(vmtest.Patience)
	for {
		t.mu.Lock()
		at, more := re.FindStringIndex(t.all[t.read:]), t.more
		if at != nil {
			t.read += at[1]
		}
		t.mu.Unlock()
		if at != nil {
			return
		}
		select {
		case <-more:
		case <-timeout:
			ts.Fatalf("terminal %s does not show %q", args[0], args[1])
		}
	}
}

// waitLeft is `left NAME CODE`: kvmctl returns with CODE, or as the shell counts signals, and leaves its terminal as it was.
func waitLeft(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: left NAME CODE")
	}
	t := theTerminal(ts, args)
	select {
	case <-t.ended:
	case <-time.After(vmtest.Patience):
		ts.Fatalf("kvmctl on terminal %s does not return", args[0])
	}
	got := t.cmd.ProcessState.ExitCode()
	if status, ok := t.cmd.ProcessState.Sys().(unix.WaitStatus); ok && status.Signaled() {
		got = 128 + int(status.Signal())
	}
	if fmt.Sprint(got) != args[1] {
		ts.Fatalf("exit code %d, want %s", got, args[1])
	}
	if after, err := t.modes(); err != nil || *after != *t.before {
		ts.Fatalf("terminal %s was left changed: %+v, was %+v (%v)", args[0], after, t.before, err)
	}
}

// killOnTerminal is `killed NAME`: SIGKILL to kvmctl there, and no more.
func killOnTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killed NAME")
	}
	t := theTerminal(ts, args)
	ts.Check(t.cmd.Process.Kill())
	<-t.ended
}

// look is `[!] viewer [-tls DIR] WHERE [PASSWORD]`: a viewer that the screen at WHERE lets in, or that goes away: with ! the
// screen refuses it, or has a certificate of another CA. WHERE is a file, or stdout, with
// what `kvmctl vnc --print` printed; DIR has the certificate of the CA that the viewer trusts. Without PASSWORD the screen must ask for none.
func look(ts *testscript.TestScript, neg bool, args []string) {
	var trusted string
	if len(args) > 1 && args[0] == "-tls" {
		trusted, args = ts.MkAbs(args[1]), args[2:]
	}
	if len(args) != 1 && len(args) != 2 {
		ts.Fatalf("usage: [!] viewer [-tls DIR] WHERE [PASSWORD]")
	}
	raw, err := vnctest.Dial(strings.TrimSpace(ts.ReadFile(args[0])), vmtest.Patience)
	ts.Check(err)
	defer raw.Close()
	c, plain, encrypted := io.ReadWriter(raw), byte(vnctest.None), uint32(vnctest.X509None)
	if len(args) == 2 {
		plain, encrypted = vnctest.VNC, vnctest.X509VNC
	}
	if trusted != "" {
		roots, err := vnctest.Roots(trusted)
		ts.Check(err)
		c, err = vnctest.Encrypt(raw, encrypted, roots)
		if neg && errors.As(err, new(x509.UnknownAuthorityError)) {
			return
		}
		ts.Check(err)
	} else {
		ts.Check(vnctest.Greet(c, plain))
	}
	in := false
	if len(args) == 2 {
		in, err = vnctest.LogIn(c, args[1])
	} else {
		in, err = vnctest.Result(c)
	}
	ts.Check(err)
	if in == neg {
		ts.Fatalf("the screen lets in: %t", in)
	}
}

// certificates is `certificates DIR`.
func certificates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: certificates DIR")
	}
	ts.Check(vnctest.Certificates(ts.MkAbs(args[0]), time.Now().Add(time.Hour)))
}
