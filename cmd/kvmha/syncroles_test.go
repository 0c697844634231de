package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha/hatest"
	"kvmctl/internal/testenv"
)

// A hand-over in the middle of a pass: the node that becomes the source ends it, keeps its own files, and nobody is told of a fault; then the other
// one copies from it.
func TestAHandOverEndsTheCopy(t *testing.T) {
	testenv.Need(t, testenv.Netns, "rsync")
	s := start(t)
	etc := t.TempDir()
	pair := map[string]*agent{}
	pair["a"], pair["b"] = s.paired(func(n *hatest.Node) netip.Addr { return n.Addr }, "")
	at := func(node, name string) string { return filepath.Join(etc, node, name) }
	for n, x := range pair {
		s.put(at(n, "zones/one"), "of "+n+"\n")
		own, err := os.ReadFile(filepath.Join(x.root, "etc/kvmha.toml"))
		s.must(err)
		x.write(string(own) + fmt.Sprintf(`
[[sync]]
name = "zones"
group = "web"
paths = ["%[1]s/zones/"]
validate = ["/bin/sh", "-c", "touch %[1]s/judging; while [ -e %[1]s/slow ]; do sleep 0.02; done"]
every = "1s"
[command]
run = ["/bin/sh", "-c", "cat >>%[1]s/alerts"]
`, filepath.Join(etc, n)))
		s.put(at(n, "alerts"), "")
	}
	s.put(at("b", "slow"), "")
	for _, x := range pair {
		if _, talk, err := x.tell("reload"); err != nil {
			t.Fatal(talk)
		}
	}
	exists := func(path string) func() bool { return func() bool { _, err := os.Stat(path); return err == nil } }
	s.must(hatest.Until(s.ctx, exists(at("b", "judging"))))
	if _, talk, err := pair["a"].tell("switch", "web"); err != nil {
		t.Fatal(talk)
	}
	pair["b"].role("active")
	s.must(hatest.Until(s.ctx, func() bool { return strings.Contains(pair["b"].Output(), "a sync has ended early") }))
	s.must(os.Remove(at("b", "slow")))
	s.must(hatest.Until(s.ctx, func() bool {
		text, err := os.ReadFile(at("a", "zones/one"))
		return err == nil && string(text) == "of b\n"
	}))
	if text, err := os.ReadFile(at("b", "zones/one")); err != nil || string(text) != "of b\n" {
		t.Errorf("b has %q, %v", text, err)
	}
	for _, n := range []string{"a", "b"} {
		if text, err := os.ReadFile(at(n, "alerts")); err != nil || strings.Contains(string(text), `"sync"`) {
			t.Errorf("%s tells of %s, %v", n, text, err)
		}
	}
}
