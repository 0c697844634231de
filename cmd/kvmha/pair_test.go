package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
	"kvmctl/ha/peer"
)

// tell runs a command of kvmha's on the node and gives what it says to people, too.
func (a *agent) tell(args ...string) (out, talk string, err error) {
	c := a.node.Command(a.s.ctx, a.argv("/proc/self/exe", args...)...)
	c.Env = append(os.Environ(), asAgent+"=1")
	var o, e strings.Builder
	c.Stdout, c.Stderr = &o, &e
	err = c.Run()
	return o.String(), e.String(), err
}

// From two nodes that know nothing of each other to two that report to each other, by the commands of the manual, and on to another key.
func TestPairByTheCommandsOfTheManual(t *testing.T) {
	s := start(t)
	nodes := map[string]*agent{}
	for name, skew := range map[string]int{"a": 0, "b": 100} {
		other := map[string]string{"a": "b", "b": "a"}[name]
		root, err := os.MkdirTemp("", "ha")
		s.must(err)
		t.Cleanup(func() { os.RemoveAll(root) })
		nodes[name] = s.agentAt(name, root, fmt.Sprintf("node = %q\n[peer.%s]\naddresses = [%q]\n", name, other, s.lab.Node(other).Addr)+group("web", s.vip, skew, ""))
	}
	a, b := nodes["a"], nodes["b"]
	a.role("active")
	b.role("standby")

	waits := a.node.Command(context.Background(), "/proc/self/exe", "--root", a.root, "pair")
	waits.Env = append(os.Environ(), asAgent+"=1")
	pair, err := a.node.StartCmd("pair", waits)
	s.must(err)
	s.must(hatest.Until(s.ctx, func() bool { return strings.Contains(pair.Output(), "a waits at") }))
	words, talk, err := b.tell("pair", a.node.Addr.String())
	if err != nil || len(strings.Split(words, "-")) != 4 || !strings.Contains(talk, "a at "+a.node.Addr.String()+" is not paired yet") {
		t.Fatalf("%q, %q, %v", words, talk, err)
	}
	s.must(pair.Wait(s.ctx))
	if !strings.Contains(pair.Output(), "\n"+words) {
		t.Fatalf("b shows %q, and a:\n%s", words, pair.Output())
	}
	if _, talk, err := b.tell("pair", "--yes", "four-words-of-mallory"); err == nil || !strings.Contains(talk, "these are not the words") {
		t.Errorf("other words: %q, %v", talk, err)
	}
	for _, x := range nodes {
		if _, talk, err := x.tell("pair", "--yes", strings.TrimSpace(words)); err != nil || !strings.Contains(talk, "paired with") {
			t.Fatalf("%q, %v", talk, err)
		}
	}
	a.sees("standby")
	b.sees("active")

	keys := filepath.Join(a.root, ha.StateDir, peer.Dir)
	old, err := peer.LoadIdentity(keys)
	s.must(err)
	if _, talk, err := a.tell("pair", "--rotate"); err != nil || talk != "kvmha: the new key is in use, known to 1 peer\n" {
		t.Fatalf("%q, %v", talk, err)
	}
	id, err := peer.LoadIdentity(keys)
	s.must(err)
	pin := filepath.Join(b.root, ha.StateDir, peer.Dir)
	var got peer.Pin
	if hatest.Until(s.ctx, func() bool {
		got, err = peer.LoadPin(pin, "a")
		return err == nil && got == (peer.Pin{Key: id.Public()})
	}) != nil || id.Public() == old.Public() {
		t.Errorf("b keeps %+v of a, whose key is %s and was %s: %v", got, id, old, err)
	}
	a.sees("standby")
	b.sees("active")
	if out, _, err := b.tell("pair", "--list"); err != nil || !strings.Contains(out, id.String()) || strings.Contains(out, old.String()) {
		t.Errorf("%s, %v", out, err)
	}
	if strings.Contains(a.Output()+b.Output(), "kvmha1-secret") {
		t.Error("a log shows a secret")
	}
}
