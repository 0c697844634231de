package check

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// start starts a server and gives its address and process.
func start(t testing.TB, kind string) (string, *os.Process) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), server+"="+kind)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return l.Addr().String(), cmd.Process
}

// once asks a check that is made for it, with a timeout, and gives its error's text, or "".
func once(t *testing.T, s Spec, timeout time.Duration) (string, Verdict, time.Duration) {
	t.Helper()
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := s.Probe(Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	began := time.Now()
	a := answerOf(p.Ask(ctx))
	return a.Reason, a.Verdict, time.Since(began)
}

const (
	long  = 20 * time.Second // for what answers, on a machine that is busy
	short = 300 * time.Millisecond
)

func TestTCP(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for _, tt := range []struct {
		name, server, send, expect string
		timeout                    time.Duration
		want                       string // a regular expression; empty: it works
	}{
		{name: "connect", server: "mute", timeout: long},
		{name: "banner", server: "banner", expect: "220 ", timeout: long},
		{name: "send and expect", server: "echo", send: "hello", expect: "hello", timeout: long},
		{name: "slow, byte by byte", server: "slow", expect: "220 slow", timeout: long},
		{name: "mute", server: "mute", expect: "220", timeout: short, want: `^read from ADDR: no answer within TIME$`},
		{name: "another banner", server: "banner", expect: "250", timeout: long, want: `^ADDR answered "220 mail.example.org ESMTP\\r\\n", not "250"$`},
		{name: "garbage", server: "garbage", expect: "220", timeout: long, want: `^ADDR answered 4096 bytes without "220": "\\x00\\xff\\x1b\[31mgarbage.*"…$`},
		{name: "closes at once", server: "close", expect: "220", timeout: long, want: `^read from ADDR: EOF$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, _ := start(t, tt.server)
			spec := TCP{Address: addr, Send: tt.send, Expect: tt.expect}
			if tt.timeout == short {
				late(t, tt.name, spec, tt.want, addr)
				return
			}
			got, _, _ := once(t, spec, tt.timeout)
			got = strings.ReplaceAll(got, addr, "ADDR")
			if tt.want == "" && got != "" || !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("got %q, want %s", got, tt.want)
			}
		})
	}
}

// A stopped process still has its connections taken by the kernel: only one that is expected to say something shows it.
func TestTCPOfAProcessThatIsStoppedAndKilled(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	addr, p := start(t, "banner")
	say := TCP{Address: addr, Expect: "220"}
	if got, _, _ := once(t, say, long); got != "" {
		t.Fatal(got)
	}
	freeze(t, p.Pid)
	late(t, "stopped", say, `^read from ADDR: no answer within TIME$`, addr)
	if got, _, _ := once(t, TCP{Address: addr}, long); got != "" {
		t.Errorf("a connection alone: %q", got)
	}
	if err := p.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := once(t, say, long); got != "" {
		t.Errorf("continued: %q", got)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.Wait()
	if got, v, _ := once(t, say, long); got != addr+" refuses connections: nothing listens there" || v != Fail {
		t.Errorf("killed: %q, %v", got, v)
	}
}

// A listener whose queue is full drops what comes: the connection stays half open.
func TestTCPHalfOpen(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 7777}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	full := false
	for range 10 {
		c, err := net.DialTimeout("tcp", "127.0.0.1:7777", 200*time.Millisecond)
		if err != nil {
			full = true
			break
		}
		defer c.Close()
	}
	if !full {
		t.Fatal("the queue takes everything")
	}
	late(t, "half open", TCP{Address: "127.0.0.1:7777"}, `^connect to ADDR: no answer within TIME$`, "127.0.0.1:7777")
}

func TestTCPNowhere(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	if got, _, _ := once(t, TCP{Address: "192.0.2.1:53"}, long); got != "connect to 192.0.2.1:53: connect: network is unreachable" {
		t.Errorf("got %q", got)
	}
}

func TestTCPValidate(t *testing.T) {
	for address, good := range map[string]bool{"127.0.0.1:53": true, "[::1]:389": true, "[fe80::1%eth0]:22": true,
		"localhost:53": false, "127.0.0.1": false, "127.0.0.1:0": false, "": false, "127.0.0.1:70000": false} {
		if err := (TCP{Address: address}).Validate(); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
	if (TCP{Address: "127.0.0.1:1", Expect: strings.Repeat("x", 5000)}).Validate() == nil {
		t.Error("an answer that would never be read is expected")
	}
}

func TestPing(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for _, addr := range []string{"127.0.0.1", "::1"} {
		if got, _, _ := once(t, Ping{Address: addr}, long); got != "" {
			t.Errorf("%s: %q", addr, got)
		}
	}
	if got, _, _ := once(t, Ping{Address: "192.0.2.1"}, long); got != "ping 192.0.2.1: network is unreachable" && !strings.Contains(got, "network is unreachable") {
		t.Errorf("nowhere: %q", got)
	}
	silence(t)
	late(t, "silent", Ping{Address: "127.0.0.1"}, `^no answer from ADDR within TIME$`, "127.0.0.1")
}

// silence has the kernel ignore echo requests, in this network namespace only.
func silence(t *testing.T) {
	t.Helper()
	const file = "/proc/sys/net/ipv4/icmp_echo_ignore_all"
	if err := os.WriteFile(file, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, []byte("0"), 0) })
}

func TestPingValidate(t *testing.T) {
	for address, good := range map[string]bool{"192.0.2.1": true, "2001:db8::1": true, "fe80::1%eth0": true,
		"router": false, "": false, "0.0.0.0": false, "224.0.0.18": false, "::": false} {
		if err := (Ping{Address: address}).Validate(); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	script := func(text string) Exec { return Exec{Command: []string{"/bin/sh", "-c", text, dir}} }
	for _, tt := range []struct {
		name, script string
		timeout      time.Duration
		want         string
	}{
		{"well", "echo all is well", long, ""},
		{"badly", "echo the zone is stale; exit 2", long, `^exit 2: the zone is stale$`},
		{"hangs", "echo waiting for the lock; sleep 1000", short, `^/bin/sh: no end after TIME, killed with its group; it last said: waiting for the lock$`},
		{"forks and hangs", "sleep 1000 & wait", short, `^/bin/sh: no end after TIME, killed with its group$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.timeout == short {
				late(t, tt.name, script(tt.script), tt.want, "ADDR")
				return
			}
			got, _, _ := once(t, script(tt.script), tt.timeout)
			says(t, tt.name, got, tt.want, "ADDR")
		})
	}
	if got, _, _ := once(t, Exec{Command: []string{"/nonexistent"}}, long); !strings.Contains(got, "no such file") {
		t.Errorf("no such program: %q", got)
	}
	for _, bad := range []Exec{{}, {Command: []string{"true"}}} {
		if bad.Validate() == nil {
			t.Errorf("%v is valid", bad)
		}
	}
}
