package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/hatest"
	"kvmctl/ha/peer"
)

// asAsker, in the environment, makes the test binary ask an arbiter: "KEYS ADDRESS NAME N".
const asAsker = "KVMHA_TEST_ASKER"

func askArbiter() {
	word := strings.Fields(os.Getenv(asAsker))
	n, err := strconv.ParseUint(word[3], 10, 64)
	id, err2 := peer.LoadIdentity(word[0])
	pin, err3 := peer.LoadPin(word[0], "witness")
	if err := errors.Join(err, err2, err3); err != nil {
		panic(err)
	}
	c := peer.NewClient("test", id)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	at := arbiter.Remote{Client: c, Node: peer.Node{Name: "witness", Key: pin.Key, Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(word[1]), peer.Port)}}}
	r, err := at.Ask(ctx, arbiter.Request{Group: "mail", Want: word[2], N: n, ID: arbiter.ID{0: word[2][0], 1: byte(n)}})
	if err != nil {
		fmt.Print(err)
		os.Exit(0)
	}
	fmt.Printf("won: %v", r)
	os.Exit(0)
}

// knowing gives roots for a, b and a witness that know each other's keys. Each question to the witness is a process of its own, which takes time on a busy machine:
// the site is given more of it.
func (s *site) knowing() (roots map[string]string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	s.t.Cleanup(cancel)
	s.ctx = ctx
	roots = map[string]string{}
	public := map[string]peer.PublicKey{}
	for _, name := range []string{"a", "b", "witness"} {
		root, err := os.MkdirTemp("", "ha")
		s.must(err)
		s.t.Cleanup(func() { os.RemoveAll(root) })
		roots[name] = root
		id, err := peer.CreateIdentity(filepath.Join(root, ha.StateDir, peer.Dir))
		s.must(err)
		public[name] = id.Public()
	}
	for _, pin := range [][2]string{{"a", "witness"}, {"b", "witness"}, {"witness", "a"}, {"witness", "b"}} {
		s.must(peer.SavePin(filepath.Join(roots[pin[0]], ha.StateDir, peer.Dir), pin[1], peer.Pin{Key: public[pin[1]]}))
	}
	return roots
}

// asks has a member ask the witness on a node for number n, once.
func (s *site) asks(keys map[string]string, from, at string, n int) ([]byte, error) {
	c := s.lab.Node(from).Command(s.ctx, "/proc/self/exe")
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d", asAsker, filepath.Join(keys[from], ha.StateDir, peer.Dir), s.lab.Node(at).Addr, from, n))
	return c.CombinedOutput()
}

// A third node keeps the record of two others: by the commands of the manual, over a kill of it, and over the loss of its file.
func TestArbiter(t *testing.T) {
	s := start(t, "c")
	keys := s.knowing()
	w := s.agentAt("c", keys["witness"], fmt.Sprintf("node = \"witness\"\n[peer.a]\naddresses = [%q]\n[peer.b]\naddresses = [%q]\n[arbiter.group.mail]\nmembers = [\"a\", \"b\"]\n",
		s.lab.Node("a").Addr, s.lab.Node("b").Addr))
	ask := func(from string, n int) string {
		t.Helper()
		var out []byte
		var err error
		// "not known" is an answer, too, of an agent that is not there yet: then it is asked again.
		if hatest.Until(s.ctx, func() bool {
			out, err = s.asks(keys, from, "c", n)
			return err == nil && !strings.Contains(string(out), "is not known")
		}) != nil {
			t.Fatalf("%s asks for %d: %s, %v", from, n, out, err)
		}
		return string(out)
	}
	status := func(want func(ha.ArbiterStatus) bool) {
		t.Helper()
		var last ha.Status
		if hatest.Until(s.ctx, func() bool {
			var err error
			last, err = w.status()
			return err == nil && len(last.Arbiter) == 1 && want(last.Arbiter[0])
		}) != nil {
			t.Fatalf("status: %+v", last.Arbiter)
		}
	}
	says := func(want string, args ...string) {
		t.Helper()
		out, talk, _ := w.tell(args...)
		out, _, _ = strings.Cut(out, "degraded: ") // nobody runs on the members
		talk = strings.ReplaceAll(talk, "kvmha --root "+w.root+" ", "kvmha ")
		if out+talk != want {
			t.Errorf("kvmha %s says\n%swant\n%s", strings.Join(args, " "), out+talk, want)
		}
	}
	records := filepath.Join(w.root, ha.StateDir, arbiter.Dir)
	restore := "kvmha arbiter create mail; if one of them ever went on alone: kvmha arbiter create mail --holder <node> --n <n>"
	missing := "there is no record of group mail in " + records

	if got := ask("a", 1); got != missing {
		t.Errorf("before the record: %s", got)
	}
	status(func(r ha.ArbiterStatus) bool { return r.Wrong != "" })
	says("ARBITER OF  MEMBERS  WENT ON ALONE  N  WHEN  KEPT IN\nmail        a,b      no record      -  -     a file here\nmail: nobody may go on alone: "+missing+"\nmail: to restore: "+restore+"\n", "status")
	says("kvmha: mail: nobody went on alone yet\n", "arbiter", "create", "mail")
	if got := ask("a", 1); got != "won: mail: a went on alone as number 1" {
		t.Errorf("a: %s", got)
	}
	lost := "the number is taken: mail: a went on alone as number 1"
	if got := ask("b", 1); got != lost {
		t.Errorf("b: %s", got)
	}
	s.must(w.Kill())
	s.must(os.RemoveAll(filepath.Join(w.root, "run"))) // as a reboot does
	w.start()
	if a, b := ask("a", 1), ask("b", 1); a != "won: mail: a went on alone as number 1" || b != lost {
		t.Errorf("after a reboot: %s, %s", a, b)
	}
	if got := ask("b", 2); got != "won: mail: b went on alone as number 2" {
		t.Errorf("b, who knows of number 1: %s", got)
	}
	status(func(r ha.ArbiterStatus) bool { return r.Holder == "b" && r.N == 2 && r.Wrong == "" })
	s.must(os.Remove(filepath.Join(records, "mail.json")))
	if got := ask("a", 3); got != missing {
		t.Errorf("without the file: %s", got)
	}
	says("kvmha: mail: b went on alone as number 2\n", "arbiter", "create", "mail", "--holder", "b", "--n", "2")
	if got := ask("a", 2); got != "the number is taken: mail: b went on alone as number 2" {
		t.Errorf("after the restore: %s", got)
	}

	file := filepath.Join(records, "mail.json")
	s.must(os.Truncate(file, 100))
	broken := file + ": it is damaged: not a record, or not the whole of one"
	if got := ask("b", 3); got != broken {
		t.Errorf("with half of the file: %s", got)
	}
	status(func(r ha.ArbiterStatus) bool { return r.Wrong == broken && r.Why == arbiter.WhyDamaged })
	says("kvmha: error: cannot make a record: an empty record in the place of a damaged one would forget who went on alone: "+broken+
		"\nkvmha: hint: kvmha arbiter create mail --holder <node> --n <n>; if none of them ever went on alone: kvmha arbiter create mail --force\n", "arbiter", "create", "mail")
	says("kvmha: mail: b went on alone as number 2\n", "arbiter", "create", "mail", "--holder", "b", "--n", "2")
	if a, b := ask("a", 2), ask("b", 3); a != "the number is taken: mail: b went on alone as number 2" || b != "won: mail: b went on alone as number 3" {
		t.Errorf("after the second restore: %s, %s", a, b)
	}
}

// The disk of an arbiter is full: it says so before anybody asks, answers nobody, and does when there is room again.
func TestArbiterWithAFullDisk(t *testing.T) {
	s := start(t, "c")
	keys := s.knowing()
	exe, err := os.Executable()
	s.must(err)
	w := &agent{s: s, node: s.lab.Node("c"), root: keys["witness"], exe: exe}
	records := filepath.Join(w.root, ha.StateDir, arbiter.Dir)
	s.must(os.MkdirAll(records, 0o700))
	w.write(fmt.Sprintf("node = \"witness\"\n[peer.a]\naddresses = [%q]\n[peer.b]\naddresses = [%q]\n[arbiter.group.mail]\nmembers = [\"a\", \"b\"]\n",
		s.lab.Node("a").Addr, s.lab.Node("b").Addr))
	// A small disk that the agent alone sees, and this test by way of its process.
	s.within["c"] = []string{"unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=64k records " + records + ` && exec "$0" "$@"`}
	w.start()
	seen := filepath.Join("/proc", strconv.Itoa(w.Pid()), "root", records)
	degraded := func(want bool) {
		t.Helper()
		says := "arbiter: keep an answer in " + records + ", where 0 bytes and "
		var last ha.Status
		if hatest.Until(s.ctx, func() bool {
			var err error
			last, err = w.status()
			return err == nil && len(last.Arbiter) == 1 && last.Arbiter[0].Wrong == "" && want == slices.ContainsFunc(last.Degraded, func(d string) bool {
				return strings.HasPrefix(d, says) && strings.HasSuffix(d, ": no space left on device")
			})
		}) != nil {
			t.Fatalf("status: %+v, %v", last.Arbiter, last.Degraded)
		}
	}
	// It is this agent's disk once its lock lies there.
	s.must(hatest.Until(s.ctx, func() bool { _, err := os.Stat(filepath.Join(seen, "lock")); return err == nil }))
	k, err := arbiter.Open(s.ctx, seen, []arbiter.Group{{Name: "mail", Members: []string{"a", "b"}}})
	s.must(err)
	_, err = k.Create(s.ctx, "mail", "", 0, false)
	s.must(err)
	degraded(false)
	if err := os.WriteFile(filepath.Join(seen, "fill"), make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	degraded(true)
	if out, err := s.asks(keys, "a", "c", 1); err != nil || !strings.HasPrefix(string(out), "the arbiter's answer is not known: ") {
		t.Errorf("a: %s, %v", out, err)
	}
	s.must(os.Remove(filepath.Join(seen, "fill")))
	degraded(false)
	var out []byte
	if hatest.Until(s.ctx, func() bool {
		out, err = s.asks(keys, "a", "c", 1)
		return err == nil && string(out) == "won: mail: a went on alone as number 1"
	}) != nil {
		t.Errorf("a, with room again: %s, %v", out, err)
	}
}
