package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
	"kvmctl/internal/testenv"
)

const vhid, password = 42, "tpri"

// site is a lab with the agent on one node, and what watches the address that it shares with the other.
type site struct {
	t       *testing.T
	lab     *hatest.Lab
	vip     netip.Addr
	holders *hatest.Holders
	probe   *hatest.Probe
	ctx     context.Context
	ucarps  map[string]*hatest.Process
	within  map[string][]string // by node: what its kvmha is run by, such as unshare(1)
}

// start makes a lab with nodes a, b, and more.
func start(t *testing.T, more ...string) *site {
	t.Helper()
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ucarp", "ip")
	lab := hatest.Start(t, append([]string{"a", "b"}, more...)...)
	v4, _ := hatest.Shared(0)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	s := &site{t: t, lab: lab, vip: v4, holders: lab.Holders(v4), ctx: ctx, ucarps: map[string]*hatest.Process{}, within: map[string][]string{}}
	probe, err := lab.Probe(v4)
	s.must(err)
	s.probe = probe
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// agent is a kvmha on a node.
type agent struct {
	*hatest.Process
	s    *site
	node *hatest.Node
	root string
	exe  string // the program; empty: the test's own
}

// group is the text of a group of kvmha.toml.
func group(name string, vip netip.Addr, skew int, more string) string {
	return fmt.Sprintf("[group.%s]\ninterface = \"eth0\"\nvhid = %d\naddresses = [%q]\npassword = %q\nskew = %d\npeer = \"ucarp\"\n"+
		"carrier_up_delay = \"0s\"\n%s\n", name, vhid, vip, password, skew, more)
}

// write puts a file in its place below the agent's root.
func (a *agent) write(text string) {
	a.s.t.Helper()
	dir := filepath.Join(a.root, "etc")
	a.s.must(os.MkdirAll(dir, 0o755))
	a.s.must(os.WriteFile(filepath.Join(dir, "kvmha.toml.new"), []byte(text), 0o600))
	a.s.must(os.Rename(filepath.Join(dir, "kvmha.toml.new"), filepath.Join(dir, "kvmha.toml")))
}

// agent starts a kvmha with this file.
func (s *site) agent(node, text string) *agent {
	s.t.Helper()
	root, err := os.MkdirTemp("", "ha") // a socket's path has no room for the test's name
	s.must(err)
	s.t.Cleanup(func() { os.RemoveAll(root) })
	return s.agentAt(node, root, text)
}

func (s *site) agentAt(node, root, text string) *agent {
	s.t.Helper()
	a := &agent{s: s, node: s.lab.Node(node), root: root}
	a.write(text)
	a.start()
	return a
}

func (a *agent) start() {
	a.s.t.Helper()
	c := a.node.Command(context.Background(), a.argv(cmp.Or(a.exe, "/proc/self/exe"), "run", "--debug")...)
	c.Env = append(os.Environ(), asAgent+"=1")
	p, err := a.node.StartCmd("kvmha", c)
	a.s.must(err)
	a.Process = p
	a.s.t.Cleanup(func() {
		if a.s.t.Failed() {
			a.s.t.Logf("log of %s:\n%s", a.node.Name, a.Output())
		}
	})
}

// argv is the line of a command of kvmha's.
func (a *agent) argv(exe string, args ...string) []string {
	return append(append(slices.Clone(a.s.within[a.node.Name]), exe, "--root", a.root), args...)
}

// ask runs a command of kvmha's on the node.
func (a *agent) ask(args ...string) (string, error) {
	c := a.node.Command(a.s.ctx, a.argv("/proc/self/exe", args...)...)
	c.Env = append(os.Environ(), asAgent+"=1")
	out, err := c.Output()
	return string(out), err
}

// status asks the agent in this process.
func (a *agent) status() (ha.Status, error) {
	r, err := ha.Ask(a.s.ctx, filepath.Join(a.root, "run/kvmha/kvmha.sock"), ha.Request{Verb: ha.VerbStatus})
	if err != nil || r.Status == nil {
		return ha.Status{}, fmt.Errorf("%w %s", err, r.Error)
	}
	return *r.Status, nil
}

// role waits until the first group has a role.
func (a *agent) role(want string) {
	a.s.t.Helper()
	var last ha.Status
	var lastErr error
	if err := hatest.Until(a.s.ctx, func() bool {
		last, lastErr = a.status()
		return lastErr == nil && last.Groups[0].Role == want
	}); err != nil {
		text, _ := json.Marshal(last)
		a.s.t.Fatalf("never %s: %s, %v", want, text, lastErr)
	}
}

// ucarp starts a real one.
func (s *site) ucarp(node string, skew int, preempt bool) *hatest.Process {
	s.t.Helper()
	p, err := s.lab.Node(node).UCARP(hatest.UCARP{VHID: vhid, Addr: s.vip, Password: password, Skew: skew, Preempt: preempt})
	s.must(err)
	s.ucarps[node] = p
	return p
}

// settled waits until one node alone has had the address for a second.
func (s *site) settled() error {
	s.t.Helper()
	var who string
	var since time.Time
	err := hatest.Until(s.ctx, func() bool {
		now := s.holders.Now()
		if len(now) != 1 || now[0] != who {
			since = time.Now()
			if who = ""; len(now) == 1 {
				who = now[0]
			}
			return false
		}
		return time.Since(since) > time.Second
	})
	if err != nil {
		return fmt.Errorf("nobody alone has it for a second: %w; %+v", err, s.holders.Spans())
	}
	return nil
}

// held waits until exactly one node has the address.
func (s *site) held(by string) {
	s.t.Helper()
	if err := hatest.Until(s.ctx, func() bool { return strings.Join(s.holders.Now(), " ") == by }); err != nil {
		s.t.Fatalf("held by %q, want %q; %+v", s.holders.Now(), by, s.holders.Spans())
	}
}

// answers waits for an answer of a node after an event.
func (s *site) answers(node string, after time.Time) time.Duration {
	s.t.Helper()
	took, err := s.probe.From(s.ctx, node, after)
	s.must(err)
	return took
}
