package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/hatest"
	"kvmctl/internal/testenv"
)

// inEtcd is a site whose two arbiters, on c and on d, keep the record of a and b in the etcd on d.
type inEtcd struct {
	*site
	keys map[string]string
	dir  string // of the certificates
	data string // of the etcd
	etcd *hatest.Process
	w    map[string]*agent // the arbiters, by node
}

func startInEtcd(t *testing.T) *inEtcd {
	s := &inEtcd{site: start(t, "c", "d"), dir: t.TempDir(), data: t.TempDir(), w: map[string]*agent{}}
	testenv.Need(t, testenv.Netns, "etcd")
	s.keys = s.knowing()
	d := s.lab.Node("d").Addr
	s.must(hatest.Certificates(s.dir, d.AsSlice(), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	s.startEtcd()
	text := fmt.Sprintf("node = \"witness\"\n[peer.a]\naddresses = [%q]\n[peer.b]\naddresses = [%q]\n[arbiter.group.mail]\nmembers = [\"a\", \"b\"]\n"+
		"[arbiter.etcd]\nendpoints = [\"https://%s:2379\"]\nca_file = %q\ncert_file = %q\nkey_file = %q\n",
		s.lab.Node("a").Addr, s.lab.Node("b").Addr, d, s.file("ca.pem"), s.file("client.pem"), s.file("client.key"))
	// The second arbiter has the first one's keys here, so that the members need to know one name alone.
	twin, err := os.MkdirTemp("", "ha")
	s.must(err)
	t.Cleanup(func() { os.RemoveAll(twin) })
	s.must(exec.Command("cp", "-a", s.keys["witness"]+"/.", twin).Run())
	s.w["c"], s.w["d"] = s.agentAt("c", s.keys["witness"], text), s.agentAt("d", twin, text)
	return s
}

func (s *inEtcd) file(name string) string { return filepath.Join(s.dir, name) }

func (s *inEtcd) startEtcd() {
	s.t.Helper()
	at := "https://" + s.lab.Node("d").Addr.String() + ":2379"
	p, err := s.lab.Node("d").Start("etcd", "etcd", "--data-dir", s.data, "--listen-client-urls", at, "--advertise-client-urls", at, "--log-level", "error",
		"--listen-peer-urls", "http://127.0.0.1:2380", "--cert-file", s.file("server.pem"), "--key-file", s.file("server.key"), "--trusted-ca-file", s.file("ca.pem"), "--client-cert-auth")
	s.must(err)
	s.etcd = p
}

// answers asks until the arbiter's answer is known.
func (s *inEtcd) answers(from, at string, n int) string {
	s.t.Helper()
	var out []byte
	var err error
	if hatest.Until(s.ctx, func() bool {
		out, err = s.asks(s.keys, from, at, n)
		return err == nil && !strings.Contains(string(out), "is not known")
	}) != nil {
		s.t.Fatalf("%s asks for %d: %s, %v", from, n, out, err)
	}
	return string(out)
}

// notKnown asks once, and wants no answer, within the time that an asker of the test has.
func (s *inEtcd) notKnown(why, from, at string, n int) {
	s.t.Helper()
	begun := time.Now()
	out, err := s.asks(s.keys, from, at, n)
	if err != nil || !strings.HasPrefix(string(out), "the arbiter's answer is not known: ") {
		s.t.Errorf("%s: %s, %v", why, out, err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		s.t.Errorf("%s: it took %v", why, took)
	}
}

// status waits for what the arbiter on a node sees.
func (s *inEtcd) status(at string, want func(ha.ArbiterStatus) bool) {
	s.t.Helper()
	var last ha.Status
	if hatest.Until(s.ctx, func() bool {
		var err error
		last, err = s.w[at].status()
		return err == nil && len(last.Arbiter) == 1 && want(last.Arbiter[0])
	}) != nil {
		s.t.Fatalf("status: %+v, %v", last.Arbiter, last.Degraded)
	}
}

// instead has something else than etcd listen at its address, which says this to whoever connects, until the function that it gives is called.
func (s *inEtcd) instead(says string) (end func()) {
	s.t.Helper()
	d := s.lab.Node("d")
	var l net.Listener
	s.must(d.Do(func() (err error) {
		l, err = net.Listen("tcp", d.Addr.String()+":2379")
		return err
	}))
	var all sync.WaitGroup
	all.Go(func() {
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			_, _ = io.WriteString(c, says) // it may have gone
			open = append(open, c)
		}
		for _, c := range open {
			c.Close()
		}
	})
	return func() { l.Close(); all.Wait() }
}

// Two arbiters keep one record in an etcd, over TLS with certificates of clients: two members race for each number and one wins it; an etcd that is stopped, dead,
// replaced by something else, half-open or emptied is never a yes; and what was won before is still won.
func TestArbiterInEtcd(t *testing.T) {
	s := startInEtcd(t)
	says := func(want string, args ...string) {
		t.Helper()
		out, talk, _ := s.w["c"].tell(args...)
		for strings.Contains(talk, "is not known") && s.ctx.Err() == nil { // of an etcd that is there, on a busy machine
			out, talk, _ = s.w["c"].tell(args...)
		}
		out, _, _ = strings.Cut(out, "degraded: ") // nobody runs on the members
		talk = strings.ReplaceAll(talk, "kvmha --root "+s.w["c"].root+" ", "kvmha ")
		if out+talk != want {
			t.Errorf("kvmha %s says\n%swant\n%s", strings.Join(args, " "), out+talk, want)
		}
	}
	restore := "kvmha arbiter create mail; if one of them ever went on alone: kvmha arbiter create mail --holder <node> --n <n>"
	missing := "there is no record of group mail in etcd, at /kvmha/arbiter/mail"
	table := "ARBITER OF  MEMBERS  WENT ON ALONE  N  WHEN  KEPT IN\nmail        a,b      "

	if got := s.answers("a", "c", 1); got != missing {
		t.Errorf("before the record: %s", got)
	}
	s.status("c", func(r ha.ArbiterStatus) bool { return r.Why == arbiter.WhyMissing && len(r.Etcd) == 1 })
	says(table+"no record      -  -     etcd\nmail: nobody may go on alone: "+missing+"\nmail: to restore: "+restore+"\n", "status")
	says("kvmha: mail: nobody went on alone yet\n", "arbiter", "create", "mail")
	says("kvmha: error: cannot make a record: there is a record already: mail: nobody went on alone yet\nkvmha: hint: kvmha status\n", "arbiter", "create", "mail")
	if out, err := s.w["c"].ask("status", "--json"); err != nil || !strings.Contains(out, `"etcd": [`) {
		t.Errorf("kvmha status --json: %s, %v", out, err)
	}

	var holder string
	for n := 1; n <= 3; n++ {
		var outs [2]string
		var both sync.WaitGroup
		for i, from := range []string{"a", "b"} {
			both.Go(func() {
				for s.ctx.Err() == nil {
					out, err := s.asks(s.keys, from, [2]string{"c", "d"}[i], n)
					if outs[i] = string(out); err == nil && !strings.Contains(outs[i], "is not known") {
						return
					}
				}
			})
		}
		both.Wait()
		winner, loser := 0, 1
		if strings.HasPrefix(outs[1], "won") {
			winner, loser = 1, 0
		}
		holder = [2]string{"a", "b"}[winner]
		if want := fmt.Sprintf("mail: %s went on alone as number %d", holder, n); outs[winner] != "won: "+want || outs[loser] != "the number is taken: "+want {
			t.Fatalf("number %d: a: %s, b: %s", n, outs[0], outs[1])
		}
	}
	s.status("d", func(r ha.ArbiterStatus) bool { return r.Holder == holder && r.N == 3 })

	s.must(s.etcd.Signal(syscall.SIGSTOP))
	s.notKnown("stopped", "a", "c", 4)
	s.status("c", func(r ha.ArbiterStatus) bool {
		return r.Wrong != "" && r.Why == "" && r.Holder == "" && strings.HasPrefix(r.Wrong, "the arbiter's answer is not known: ")
	})
	s.must(s.etcd.Signal(syscall.SIGCONT))
	if got := s.answers("a", "c", 4); got != "won: mail: a went on alone as number 4" {
		t.Errorf("after the stop: %s", got)
	}
	s.must(s.etcd.Kill())
	s.notKnown("dead", "b", "c", 5)
	if out, talk, err := s.w["c"].tell("arbiter", "create", "mail", "--force", "--holder", "b", "--n", "5"); out != "" || err == nil ||
		!strings.HasPrefix(talk, "kvmha: error: cannot make a record: the arbiter's answer is not known: ask etcd: ") {
		t.Errorf("kvmha arbiter create with a dead etcd: %s%s%v", out, talk, err)
	}
	for why, words := range map[string]string{"half-open": "", "garbage": "\x00\xff hello\n", "not TLS": "HTTP/1.1 200 OK\r\n\r\n{\"header\":{},\"succeeded\":true}"} {
		end := s.instead(words)
		s.notKnown(why, "b", "c", 5)
		end()
	}
	s.must(s.w["c"].Kill())
	s.startEtcd()
	s.w["c"].start()
	if a, b := s.answers("a", "c", 4), s.answers("b", "c", 4); a != "won: mail: a went on alone as number 4" || b != "the number is taken: mail: a went on alone as number 4" {
		t.Errorf("after kills of both: %s, %s", a, b)
	}
	s.must(s.etcd.Kill())
	s.must(os.RemoveAll(filepath.Join(s.data, "member")))
	s.startEtcd()
	if got := s.answers("b", "d", 5); got != missing {
		t.Errorf("in an empty etcd: %s", got)
	}
	says("kvmha: mail: a went on alone as number 4\n", "arbiter", "create", "mail", "--holder", "a", "--n", "4")
	if got := s.answers("b", "d", 4); got != "the number is taken: mail: a went on alone as number 4" {
		t.Errorf("after the restore: %s", got)
	}
}
