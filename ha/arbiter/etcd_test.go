//go:build linux

package arbiter

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/internal/testenv"
)

// member is one etcd.
type member struct {
	client, peer string // addresses
	process      *os.Process
	ended        chan struct{}
}

// freePort gives an address of the loopback that nothing listens on; in this network nobody else looks for one.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// said is what a process writes while a test may look.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// cluster starts so many etcds that are one; scheme is that of their client addresses.
func cluster(t *testing.T, n int, scheme string, more ...string) []*member {
	t.Helper()
	testenv.Need(t, testenv.Netns, "etcd")
	var all []*member
	var initial []string
	for i := range n {
		m := &member{client: freePort(t), peer: freePort(t), ended: make(chan struct{})}
		all = append(all, m)
		initial = append(initial, fmt.Sprintf("m%d=http://%s", i, m.peer))
	}
	for i, m := range all {
		argv := append([]string{
			"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(t.TempDir(), "data"), "--initial-cluster", strings.Join(initial, ","),
			"--listen-client-urls", scheme + "://" + m.client, "--advertise-client-urls", scheme + "://" + m.client,
			"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer, "--log-level", "error",
		}, more...)
		cmd := exec.Command("etcd", argv...)
		var out said
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		m.process = cmd.Process
		go func() { defer close(m.ended); _ = cmd.Wait() }()
		t.Cleanup(func() {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			<-m.ended
			if t.Failed() {
				t.Logf("etcd said:\n%s", out.String())
			}
		})
	}
	return all
}

func (m *member) kill() { _ = m.process.Kill(); <-m.ended }

// stop has the process stand still; it comes back when each of its threads does.
func (m *member) stop(t *testing.T) {
	t.Helper()
	if err := unix.Kill(m.process.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", m.process.Pid))
		if err != nil || len(threads) == 0 {
			t.Fatal("no threads", err)
		}
		for _, path := range threads {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if _, after, _ := bytes.Cut(text, []byte(") ")); !bytes.HasPrefix(after, []byte("T")) {
				return fmt.Errorf("%s: %w", path, errRuns)
			}
		}
		return nil
	})
}

var errRuns = errors.New("it still runs")

// viaEtcd is an etcd as a member sees it.
type viaEtcd struct {
	*Etcd
	from string
}

func (e viaEtcd) Ask(ctx context.Context, r Request) (Record, error) {
	return e.AskFrom(ctx, e.from, r)
}

// openEtcd gives an etcd as the node from sees it; it is closed with the test.
func openEtcd(t *testing.T, from string, c *tls.Config, endpoints ...string) viaEtcd {
	t.Helper()
	e, err := NewEtcd(endpoints, EtcdPrefix, groups(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return viaEtcd{e, from}
}

// ready waits until an etcd answers.
func ready(t *testing.T, e viaEtcd) {
	t.Helper()
	eventually(t, func() error {
		_, err := e.Look(t.Context(), "first")
		if errors.Is(err, ErrMissing) {
			err = nil
		}
		return err
	})
}

// eventually tries until there is no error, or for a minute.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(err)
		}
	}
}

func TestEtcd(t *testing.T) {
	m := cluster(t, 1, "http")[0]
	by := map[string]viaEtcd{}
	for _, name := range []string{"a", "b", "c"} {
		// The first endpoint is a machine that is off.
		by[name] = openEtcd(t, name, nil, "http://"+freePort(t), "http://"+m.client)
	}
	by["a"].now, by["b"].now = years(-1), years(1) // the clock of a node that asks by itself decides nothing
	ready(t, by["a"])
	testContract(t, backend{func(member string) Asker { return by[member] }, by["a"].Create})

	t.Run("damaged", func(t *testing.T) {
		e, ctx := by["a"], t.Context()
		eventually(t, func() error {
			_, err := e.post(ctx, "/v3/kv/put", etcdPut{[]byte(EtcdPrefix + "first"), []byte("hello")})
			return err
		})
		r, err := (patient{e}).Ask(ctx, Request{"first", "a", 2, id(1)})
		if outcome(r, err) != "refused: damaged" || err.Error() != "/kvmha/arbiter/first in etcd: it is damaged: not a record, or not the whole of one" {
			t.Errorf("%s: %v", outcome(r, err), err)
		}
		if err := (backend{create: e.Create}).creates(ctx, "first", "a", 1, false); err != nil {
			t.Errorf("restore: %v", err)
		}
		if r, err := (patient{e}).Ask(ctx, Request{"first", "a", 2, id(1)}); outcome(r, err) != "won a 2" {
			t.Errorf("%s: %v", outcome(r, err), err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		m.stop(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r, err := by["a"].Ask(ctx, Request{"first", "a", 3, id(3)})
		if outcome(r, err) != "unknown" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", outcome(r, err), err)
		}
		if err := unix.Kill(m.process.Pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			_, err := by["a"].Ask(t.Context(), Request{"first", "a", 3, id(3)})
			return err
		})
	})
	t.Run("killed", func(t *testing.T) {
		m.kill()
		if r, err := by["a"].Ask(t.Context(), Request{"first", "a", 4, id(4)}); outcome(r, err) != "unknown" || !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", outcome(r, err), err)
		}
	})
}

// TestEtcdQuorum has three etcds: with one of them killed it decides, with two away it does not, and the same request wins when one is back.
func TestEtcdQuorum(t *testing.T) {
	all := cluster(t, 3, "http")
	var at []string
	for _, m := range all {
		at = append(at, "http://"+m.client)
	}
	a, b := openEtcd(t, "a", nil, at...), openEtcd(t, "b", nil, at[2], at[1], at[0])
	ready(t, a)
	if err := (backend{create: a.Create}).creates(t.Context(), pair.Name, "", 0, false); err != nil {
		t.Fatal(err)
	}
	all[0].kill()
	eventually(t, func() error { _, err := a.Ask(t.Context(), Request{pair.Name, "a", 1, id(1)}); return err })
	all[1].stop(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	r := Request{pair.Name, "b", 2, id(2)}
	if got, err := b.Ask(ctx, r); outcome(got, err) != "unknown" {
		t.Errorf("without a quorum: %s: %v", outcome(got, err), err)
	}
	if err := unix.Kill(all[1].process.Pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { _, err := b.Ask(t.Context(), r); return err })
	eventually(t, func() error {
		got, err := a.Ask(t.Context(), Request{pair.Name, "a", 2, id(3)})
		if outcome(got, err) == "lost to b 2" {
			return nil
		}
		return fmt.Errorf("%s: %w", outcome(got, err), err)
	})
}

func certificates(t *testing.T, dir string, from, to time.Time) {
	t.Helper()
	if err := hatest.Certificates(dir, net.IPv4(127, 0, 0, 1), from, to); err != nil {
		t.Fatal(err)
	}
}

func TestEtcdWithCertificates(t *testing.T) {
	testenv.Need(t, testenv.Netns, "etcd")
	dir := t.TempDir()
	certificates(t, dir, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	file := func(name string) string { return filepath.Join(dir, name) }
	m := cluster(t, 1, "https", "--cert-file", file("server.pem"), "--key-file", file("server.key"), "--trusted-ca-file", file("ca.pem"), "--client-cert-auth")[0]
	good, err := LoadTLS(file("ca.pem"), file("client.pem"), file("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	e := openEtcd(t, "a", good, "https://"+m.client)
	ready(t, e)
	if err := (backend{create: e.Create}).creates(t.Context(), pair.Name, "", 0, false); err != nil {
		t.Fatal(err)
	}
	r := Request{pair.Name, "a", 1, id(1)}
	nobody, err := LoadTLS(file("ca.pem"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openEtcd(t, "a", nobody, "https://"+m.client).Ask(t.Context(), r); outcome(got, err) != "unknown" {
		t.Errorf("without a certificate: %s: %v", outcome(got, err), err)
	}
	eventually(t, func() error {
		other := openEtcd(t, "a", &tls.Config{RootCAs: x509.NewCertPool(), GetClientCertificate: good.GetClientCertificate}, "https://"+m.client)
		if got, err := other.Ask(t.Context(), r); outcome(got, err) != "unknown" || !errors.As(err, new(x509.UnknownAuthorityError)) {
			return fmt.Errorf("of another CA: %s: %w", outcome(got, err), err)
		}
		return nil
	})
	if got, err := (patient{e}).Ask(t.Context(), r); outcome(got, err) != "won a 1" {
		t.Errorf("%s: %v", outcome(got, err), err)
	}
	if err := os.Chmod(file("client.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTLS(file("ca.pem"), file("client.pem"), file("client.key")); !errors.Is(err, ErrExposed) {
		t.Errorf("a key that the group reads: %v", err)
	}
	if _, err := LoadTLS(file("client.key"), "", ""); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("a CA without a certificate: %v", err)
	}
}

// TestEtcdInAnotherYear has an etcd whose certificate is not of this year, which is what this node's clock sees when it is a year off: a clear sentence,
// and no answer.
func TestEtcdInAnotherYear(t *testing.T) {
	testenv.Need(t, testenv.Netns, "etcd")
	dir, year := t.TempDir(), 365*24*time.Hour
	file := func(name string) string { return filepath.Join(dir, name) }
	certificates(t, dir, time.Now().Add(-2*year), time.Now().Add(-year))
	m := cluster(t, 1, "https", "--cert-file", file("server.pem"), "--key-file", file("server.key"))[0]
	e, err := OpenEtcd(EtcdAt{Endpoints: []string{"https://" + m.client}, Prefix: EtcdPrefix, CAFile: file("ca.pem")}, groups())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	eventually(t, func() error {
		r, err := e.AskFrom(t.Context(), "a", Request{pair.Name, "a", 1, id(1)})
		if bad, ok := errors.AsType[x509.CertificateInvalidError](err); outcome(r, err) != "unknown" || !ok || bad.Reason != x509.Expired ||
			!strings.Contains(err.Error(), "certificate has expired or is not yet valid: current time") {
			return fmt.Errorf("%s: %w", outcome(r, err), err)
		}
		return nil
	})
}

// TestHalfOpenEtcd has something take the connection that says nothing, or stops amid an answer, as a firewall that forgot or a machine that hangs does: the
// answer is not known, when the caller has no deadline, too.
func TestHalfOpenEtcd(t *testing.T) {
	for name, says := range map[string]string{
		"nothing":       "",
		"half a header": "HTTP/1.1 200 OK\r\nContent-",
		"half a body":   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"header\":{},",
		"garbage":       "\x15\x03\x01\x00\x02\x02\x16",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			all.Go(func() {
				var open []net.Conn
				for {
					c, err := l.Accept()
					if err != nil {
						break
					}
					open = append(open, c)
					_, _ = c.Read(make([]byte, 4096)) // it may have gone
					_, _ = io.WriteString(c, says)
				}
				for _, c := range open {
					c.Close()
				}
			})
			defer all.Wait()
			defer l.Close()
			begun := time.Now()
			r, err := openEtcd(t, "a", nil, "http://"+l.Addr().String()).Ask(context.WithoutCancel(t.Context()), Request{pair.Name, "a", 1, id(1)})
			if outcome(r, err) != "unknown" {
				t.Errorf("%s: %v", outcome(r, err), err)
			}
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestEtcdAnswers has something answer that is no etcd, or not well: none of it is a win.
func TestEtcdAnswers(t *testing.T) {
	free, err := Record{Group: pair.Name}.seal()
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf(`{"header":{},"kvs":[{"key":"L2t2bWhhL2FyYml0ZXIvd2Vi","mod_revision":"7","value":%q}]}`, base64.StdEncoding.EncodeToString(free))
	tests := []struct {
		name       string
		code       int
		rang, txn  string
		want, says string
	}{
		{"it wins", 200, before, `{"header":{},"succeeded":true,"responses":[{"response_put":{}}]}`, "won a 1", ""},
		{"a page of a proxy", 200, "<html>", "", "unknown", "the arbiter's answer is not known: the answer is not etcd's"},
		{"an empty object", 200, "{}", "", "unknown", "the arbiter's answer is not known: the answer is not etcd's"},
		{"another key", 200, strings.Replace(before, "L2t2", "L2t3", 1), "", "unknown", "the arbiter's answer is not known: the answer is not etcd's"},
		{"two keys", 200, `{"header":{},"kvs":[{},{}]}`, "", "unknown", "the arbiter's answer is not known: the answer is not etcd's"},
		{"a transaction without an answer", 200, before, `{"header":{},"succeeded":true}`, "unknown", "the arbiter's answer is not known: the answer is not etcd's"},
		{"a transaction that failed for nothing", 200, before, `{"header":{},"responses":[{"response_put":{}}]}`, "unknown", "the arbiter's answer is not known: the answer is not etcd's"},
		{"the record has gone", 200, before, `{"header":{},"responses":[{"response_range":{}}]}`, "refused: missing", "there is no record of group web in etcd, at /kvmha/arbiter/web"},
		{"somebody else each time", 200, before, strings.Replace(`{"header":{},"responses":[{"response_range":R}]}`, "R", before, 1), "unknown", "the arbiter's answer is not known: others came between each time"},
		{"too long", 200, `{"header":{},"more":"` + strings.Repeat("x", etcdBody) + `"}`, "", "unknown", ""},
		{"an error", 503, `{"error":"etcdserver: request timed out","code":14}`, "", "unknown", ""},
		{"a redirect", 302, "", "", "unknown", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(tt.code)
				if r.URL.Path == "/v3/kv/range" {
					fmt.Fprint(w, tt.rang)
				} else {
					fmt.Fprint(w, tt.txn)
				}
			}))
			defer s.Close()
			r, err := openEtcd(t, "a", nil, s.URL).Ask(t.Context(), Request{pair.Name, "a", 1, id(1)})
			if got := outcome(r, err); got != tt.want || tt.says != "" && err.Error() != tt.says {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
	for _, bad := range []string{"", "127.0.0.1:2379", "ftp://x", "http://", "http://user:secret@x:1", "http://x:1/y", "http://x:1?y", "http://x:1?", "https://x", "https://x:0", "https://x:1#y"} {
		if _, err := NewEtcd([]string{bad}, EtcdPrefix, nil, nil); !errors.Is(err, ErrEndpoint) {
			t.Errorf("endpoint %q: %v", bad, err)
		}
	}
	for _, plain := range []string{"http://10.2.0.1:2379", "http://etcd.example.org:2379", "http://[fd00::1]:2379"} {
		if _, err := NewEtcd([]string{plain}, EtcdPrefix, nil, nil); !errors.Is(err, ErrPlain) {
			t.Errorf("endpoint %q: %v", plain, err)
		}
	}
	if _, err := NewEtcd(nil, EtcdPrefix, nil, nil); !errors.Is(err, ErrEndpoint) {
		t.Errorf("no endpoint: %v", err)
	}
}

func FuzzEtcdAnswer(f *testing.F) {
	f.Add([]byte(`{"header":{"revision":"2"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"2"}}}]}`))
	f.Add([]byte(`{"header":{"revision":"2"},"responses":[{"response_range":{"header":{"revision":"2"},"kvs":[{"key":"L2s=","create_revision":"2","mod_revision":"2","version":"1","value":"djE="}],"count":"1"}}]}`))
	f.Add([]byte(`{"header":{"revision":"2"},"kvs":[{"key":"L2s=","mod_revision":"2","value":"djE="}]}`))
	f.Add([]byte(`{"error":"etcdserver: mvcc: required revision has been compacted","message":"x","code":11}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := parseRange("/k", data); err == nil && (got.revision < 0 || got.revision == 0 && got.value != nil) {
			t.Errorf("%v", got)
		}
		if done, there, err := parseTxn("/k", data); err == nil && done && there.revision != 0 {
			t.Errorf("%v", there)
		}
		if text := parseEtcdError(500, data).Error(); len(text) > 600 || strings.ContainsAny(text, "\x1b\n") {
			t.Errorf("%q", text)
		}
	})
}
