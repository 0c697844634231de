package guest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/internal/flock"
	"kvmctl/internal/testenv"
)

// patience is how long any one fact may take under tcg on a loaded machine.
const patience = 90 * time.Second

func holdLock(t *testing.T, dir string) (unlock func()) {
	t.Helper()
	lock, err := flock.TryLock(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	return func() { lock.Unlock() }
}

// machine is a running QEMU with the guest in it, its serial console and its QMP connection.
type machine struct {
	t       *testing.T
	dir     string
	serial  io.Writer
	console *transcript
	qmp     net.Conn
	replies *json.Decoder
	events  []message // that came while a command was waiting for its answer
	exited  chan struct{}
	err     error // of the process, once exited is closed
	began   time.Time
}

// boot starts QEMU; words are appended to the kernel's command line.
func boot(t *testing.T, initrd func(Images) string, words string, args ...string) *machine {
	t.Helper()
	testenv.Need(t, testenv.QEMU)
	images, err := Build(t.Context(), DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "guest") // short: socket paths have at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{t: t, dir: dir, console: newTranscript(), exited: make(chan struct{}), began: time.Now()}
	argv := append([]string{
		"-accel", "tcg", "-machine", "q35", "-m", "192", "-nodefaults", "-display", "none", "-serial", "stdio",
		"-kernel", images.Kernel, "-initrd", initrd(images), "-append", Cmdline + " " + words,
		"-qmp", "unix:" + dir + "/qmp,server=on,wait=off",
	}, args...)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "$DIR", dir)
	}
	cmd := exec.Command("qemu-system-x86_64", argv...)
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.serial, cmd.Stdout = stdin, m.console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		m.err = cmd.Wait()
		m.console.end()
		close(m.exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-m.exited
		if t.Failed() {
			t.Logf("console:\n%s", m.console.text())
		}
	})
	m.connect()
	return m
}

func plain(i Images) string     { return i.Initrd }
func withAgent(i Images) string { return i.AgentInitrd }

func (m *machine) connect() {
	m.t.Helper()
	m.qmp = m.dial("qmp")
	m.replies = json.NewDecoder(m.qmp)
	m.message() // the greeting
	m.command("qmp_capabilities")
}

func (m *machine) dial(socket string) net.Conn {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", filepath.Join(m.dir, socket))
		if err == nil {
			m.t.Cleanup(func() { conn.Close() })
			return conn
		}
		select {
		case <-m.exited:
			m.t.Fatalf("qemu ended: %v", m.err)
		default:
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("no socket %s: %v", socket, err)
		}
	}
}

type message struct {
	Event  string
	Return json.RawMessage
	Error  json.RawMessage
	Data   struct {
		Guest  bool
		Reason string
	}
}

func (m *machine) message() message {
	m.t.Helper()
	m.qmp.SetReadDeadline(time.Now().Add(patience))
	var msg message
	if err := m.replies.Decode(&msg); err != nil {
		m.t.Fatalf("read qmp: %v", err)
	}
	return msg
}

func (m *machine) command(name string) json.RawMessage { return m.commandWith(name, "{}") }

func (m *machine) commandWith(name, arguments string) json.RawMessage {
	m.t.Helper()
	if _, err := io.WriteString(m.qmp, `{"execute":"`+name+`","arguments":`+arguments+"}\n"); err != nil {
		m.t.Fatalf("write qmp: %v", err)
	}
	for {
		switch msg := m.message(); {
		case msg.Error != nil:
			m.t.Fatalf("%s: %s", name, msg.Error)
		case msg.Return != nil:
			return msg.Return
		case msg.Event != "":
			m.events = append(m.events, msg)
		}
	}
}

// event waits for an event of that name.
func (m *machine) event(name string) message {
	m.t.Helper()
	for {
		var msg message
		if len(m.events) > 0 {
			msg, m.events = m.events[0], m.events[1:]
		} else {
			msg = m.message()
		}
		if msg.Event == name {
			return msg
		}
	}
}

// shutDown waits for the guest's own end.
func (m *machine) shutDown() {
	m.t.Helper()
	msg := m.event("SHUTDOWN")
	if !msg.Data.Guest || msg.Data.Reason != "guest-shutdown" {
		m.t.Errorf("SHUTDOWN with %+v, want the guest's own", msg.Data)
	}
	m.ended()
}

// ended waits for QEMU's end, which has to be a clean one.
func (m *machine) ended() {
	m.t.Helper()
	select {
	case <-m.exited:
	case <-time.After(patience):
		m.t.Fatal("the guest is off, QEMU is still there")
	}
	if m.err != nil {
		m.t.Errorf("qemu: %v", m.err)
	}
}

// expect waits for text that was not there before the last expect, and returns its match.
func (m *machine) expect(pattern string) []string {
	m.t.Helper()
	match, err := m.console.expect(regexp.MustCompile(pattern), patience)
	if err != nil {
		m.t.Fatalf("console: wait for %q: %v", pattern, err)
	}
	return match
}

func (m *machine) ready() *machine {
	m.t.Helper()
	m.expect(Ready + ` after [0-9.]+s`)
	m.t.Logf("ready after %.1f s", time.Since(m.began).Seconds())
	return m
}

func (m *machine) typed(line string) {
	m.t.Helper()
	if _, err := io.WriteString(m.serial, line+"\n"); err != nil {
		m.t.Fatalf("type: %v", err)
	}
}

// transcript is a console's text; expect consumes it.
type transcript struct {
	mu    sync.Mutex
	all   bytes.Buffer
	read  int
	ended bool
	more  chan struct{} // closed and replaced when something came
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (tr *transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.all.Write(p)
	close(tr.more)
	tr.more = make(chan struct{})
	return len(p), nil
}

func (tr *transcript) end() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.ended = true
	close(tr.more)
	tr.more = make(chan struct{})
}

func (tr *transcript) text() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.all.String()
}

func (tr *transcript) expect(re *regexp.Regexp, limit time.Duration) ([]string, error) {
	timeout := time.After(limit)
	for {
		tr.mu.Lock()
		text := tr.all.Bytes()[tr.read:]
		if at := re.FindSubmatchIndex(text); at != nil {
			var match []string
			for i := 0; i < len(at); i += 2 {
				match = append(match, string(text[at[i]:at[i+1]]))
			}
			tr.read += at[1]
			tr.mu.Unlock()
			return match, nil
		}
		more, ended := tr.more, tr.ended
		tr.mu.Unlock()
		if ended {
			return nil, errors.New("the console ended")
		}
		select {
		case <-more:
		case <-timeout:
			return nil, errors.New("not seen in time")
		}
	}
}
