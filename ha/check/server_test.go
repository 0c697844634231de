package check

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/proc"
)

// serverOf starts a server that stays in the foreground and waits until each address takes connections.
func serverOf(t testing.TB, argv []string, addrs ...string) *os.Process {
	t.Helper()
	var said lockedBuffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		group := cmd.Process.Pid
		_ = unix.Kill(-group, unix.SIGKILL) // its children, too
		<-ended
		gone(t, argv[0], func(pid int) bool { // they would write to a folder that is being removed
			of, err := unix.Getpgid(pid)
			return err == nil && of == group
		})
		if t.Failed() {
			t.Logf("%s said:\n%s", argv[0], said.String())
		}
	})
	deadline := time.Now().Add(time.Minute)
	for _, addr := range addrs {
		for {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-ended:
				t.Fatalf("%s has ended: %s", argv[0], said.String())
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not listen on %s: %s", argv[0], addr, said.String())
			}
		}
	}
	return cmd.Process
}

// gone waits until no process that is meant lives any more.
func gone(t testing.TB, what string, meant func(pid int) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var left []int
		for _, name := range numbers(t) {
			pid, err := strconv.Atoi(name)
			if err != nil || !meant(pid) {
				continue
			}
			if st, err := proc.ReadStat(pid); err == nil && st.State != 'Z' && st.State != 'X' {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("processes of %s are left: %v", what, left)
			return
		}
	}
}

// numbers are the names in /proc.
func numbers(t testing.TB) []string {
	t.Helper()
	dir, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	all, err := dir.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// lockedBuffer is what a process writes while a test may look.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// freePort gives an address that nothing listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}

// certificate writes dir/ca.pem, dir/cert.pem and dir/key.pem, of a server of that name, valid until then.
func certificate(t testing.TB, dir, name string, until time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of the office"}, NotBefore: until.Add(-9 * time.Hour), NotAfter: until.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	own := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-8 * time.Hour), NotAfter: until,
		DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	ownDER, err2 := x509.CreateCertificate(rand.Reader, own, ca, &key.PublicKey, key)
	keyDER, err3 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: caDER}, "cert.pem": {Type: "CERTIFICATE", Bytes: ownDER}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		write(t, filepath.Join(dir, file), string(pem.EncodeToMemory(&block)))
	}
}

// slowly gives an address where what addr answers comes byte by byte, each after a pause.
func slowly(t testing.TB, addr string, pause time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var all sync.WaitGroup
	t.Cleanup(func() { close(over); l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", addr)
			if err != nil {
				c.Close()
				continue
			}
			all.Go(func() { <-over; c.Close(); up.Close() })
			all.Go(func() { _, _ = io.Copy(up, c); _ = up.(*net.TCPConn).CloseWrite() })
			all.Go(func() {
				b := make([]byte, 1)
				for {
					if _, err := up.Read(b); err != nil {
						return
					}
					select {
					case <-over:
						return
					case <-time.After(pause):
					}
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// halfOpen gives an address whose kernel drops what comes: the queue of its listener is full.
func halfOpen(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}).String()
	for range 10 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue takes everything")
	return ""
}

// says holds a reason against a regular expression, in which ADDR stands for the address; an empty one: the check passes.
func says(t *testing.T, what, got, want, addr string) {
	t.Helper()
	got = strings.ReplaceAll(got, addr, "ADDR")
	if want == "" && got != "" || !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("%s: got %q, want %s", what, got, want)
	}
}

// waited is how long a check says that it waited, as it words it.
var waited = regexp.MustCompile(`\d+(\.\d+)?m?s`)

// late asks one that does not answer, or not in time, within short. On a machine that is busy the steps before the one that hangs may take all of
// that, so that the reason is another one: then it is asked again, with more time. TIME in want stands for how long the check says that it waited,
// which has to be what it was to wait, once at least.
func late(t *testing.T, what string, spec Spec, want, addr string) {
	t.Helper()
	lateAsked(t, what, func(timeout time.Duration) (string, Verdict, time.Duration) { return once(t, spec, timeout) }, want, addr)
}

func lateAsked(t *testing.T, what string, ask func(timeout time.Duration) (string, Verdict, time.Duration), want, addr string) {
	t.Helper()
	pattern := regexp.MustCompile(strings.ReplaceAll(want, "TIME", `(?P<TIME>`+waited.String()+`)`))
	var said []string
	for _, timeout := range []time.Duration{short, short, 2 * short, 2 * short, 4 * short} {
		got, verdict, after := ask(timeout)
		if after > timeout+within {
			t.Errorf("%s: %q after %v instead of %v", what, got, after, timeout)
			return
		}
		got = strings.ReplaceAll(got, addr, "ADDR")
		m := pattern.FindStringSubmatch(got)
		if m != nil && verdict == Fail {
			i := pattern.SubexpIndex("TIME")
			if i < 0 || m[i] == "" {
				return
			}
			if d, err := time.ParseDuration(m[i]); err == nil && d >= timeout-20*time.Millisecond && d <= timeout+250*time.Millisecond { // rounded, and its clock starts a little later
				return
			}
		}
		said = append(said, fmt.Sprintf("within %v: %v, %q", timeout, verdict, got))
	}
	t.Errorf("%s: want %s, got\n%s", what, want, strings.Join(said, "\n"))
}

// within is what a question of timeout short may take on a machine that is busy.
const within = short + 5*time.Second

// freeze stops a process, all threads of it.
func freeze(t testing.TB, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		stopped := len(stats) > 0
		for _, file := range stats {
			b, _ := os.ReadFile(file)
			_, state, _ := bytes.Cut(b, []byte(") "))
			stopped = stopped && bytes.HasPrefix(state, []byte("T"))
		}
		if stopped {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d does not stop", pid)
		}
		time.Sleep(time.Millisecond)
	}
}

// stranger holds what a check says of a server of start or halfOpen against a regular expression, with ADDR and TIME as late has them. One that says
// anything or ends may be late on a busy machine, one that does not never comes.
func stranger(t *testing.T, kind string, spec func(addr string) Spec, want string) {
	t.Helper()
	if kind == "half open" {
		addr := halfOpen(t)
		late(t, kind, spec(addr), want, addr)
		return
	}
	addr, _ := start(t, kind)
	if kind == "mute" {
		late(t, kind, spec(addr), want, addr)
		return
	}
	got, _, after := once(t, spec(addr), long)
	says(t, kind, got, want, addr)
	if after > long {
		t.Errorf("%s: after %v", kind, after)
	}
}
