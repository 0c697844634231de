package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
	"kvmctl/internal/testenv"
)

// exitCode is that of a command of kvmha's.
func exitCode(err error) int {
	if status, ok := err.(interface{ ExitCode() int }); ok {
		return status.ExitCode()
	}
	return 0
}

// put writes a file in one step: an agent may look at any moment.
func (s *site) put(path, text string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(path), 0o755))
	s.must(os.WriteFile(path+".part", []byte(text), 0o644))
	s.must(os.Rename(path+".part", path))
}

// steady makes a the source soon, and again if it ever stands still on a busy machine.
const steady = "preempt = true\ndead_ratio = 2\n"

// often is how often a node copies: a does not, or would take over what b had while it was not the source for a moment.
func often(node string) string {
	if node == "b" {
		return "every = \"1s\""
	}
	return ""
}

func zone(serial int, www string) string {
	return fmt.Sprintf("$TTL 60\n@ IN SOA ns hostmaster %d 3600 600 86400 60\n@ IN NS ns\nns IN A 192.0.2.1\nwww IN A %s\n", serial, www)
}

// The standby serves by a real BIND what the active node's zones say, refuses what BIND refuses, and goes back.
func TestAChangedZoneIsServedByTheStandby(t *testing.T) {
	testenv.Need(t, testenv.Netns, "rsync", "named", "named-checkconf", "dig")
	s := start(t)
	etc := t.TempDir()
	s.must(os.Chmod(etc, 0o755))
	at := func(node, name string) string { return filepath.Join(etc, node, name) }
	b := s.lab.Node("b")
	conf := fmt.Sprintf("options { directory %q; pid-file %q; session-keyfile none; listen-on port 53 { %s; }; listen-on-v6 { none; }; recursion no; "+
		"dnssec-validation no; };\ncontrols { };\nzone \"example.org\" { type primary; file %q; };\n", at("b", ""), at("b", "pid"), b.Addr, at("b", "zones/example.org"))
	s.put(at("b", "named.conf"), conf)
	s.put(at("a", "zones/example.org"), zone(1, "192.0.2.10"))
	s.put(at("b", "zones/example.org"), zone(1, "192.0.2.10"))
	s.put(at("b", "zones/example.org.jnl.keep"), "of b\n")
	text := fmt.Sprintf(`
[[sync]]
name = "zones"
group = "web"
paths = ["%s/zones/"]
exclude = ["*.keep", "*.part"]
validate = ["/usr/bin/named-checkconf", "-z", %q]
reload = ["/bin/sh", "-c", "kill -HUP $(cat %s)"]
on_change = true
[command]
run = ["/bin/sh", "-c", "cat >>%s"]
[[sync]]
name = "byhand"
group = "web"
paths = ["%s/zones/"]
[[sync]]
name = "daily"
group = "web"
paths = ["%s/daily/"]
at = "03:30"
`, "%s", at("b", "named.conf"), at("b", "pid"), at("b", "alerts"), "%s", "%s")
	pair := map[string]*agent{}
	pair["a"], pair["b"] = s.paired(func(n *hatest.Node) netip.Addr { return n.Addr }, steady)
	_, err := b.Start("named", "named", "-f", "-g", "-c", at("b", "named.conf"))
	s.must(err)
	serves := func(want string) {
		t.Helper()
		var last []byte
		if hatest.Until(s.ctx, func() bool {
			last, _ = b.Command(s.ctx, "dig", "+short", "+time=1", "+tries=1", "@"+b.Addr.String(), "www.example.org").Output()
			return strings.TrimSpace(string(last)) == want
		}) != nil {
			out, talk, err := pair["b"].tell("sync", "zones")
			t.Fatalf("b serves %q, not %s; %s %s %v", last, want, out, talk, err)
		}
	}
	serves("192.0.2.10")
	for _, n := range []string{"a", "b"} { // the source first: a pass that b tries before is tried again minutes later
		x := pair[n]
		dir := filepath.Join(etc, n)
		other := at(n, "hand")
		s.put(filepath.Join(other, "zones/one"), "1\n")
		s.put(filepath.Join(other, "daily", n), "1\n")
		own, err := os.ReadFile(filepath.Join(x.root, "etc/kvmha.toml"))
		s.must(err)
		x.write(string(own) + fmt.Sprintf(text, dir, other, other))
		if _, talk, err := x.tell("reload"); err != nil {
			t.Fatal(talk)
		}
	}
	s.put(at("a", "zones/example.org"), zone(2, "192.0.2.20"))
	serves("192.0.2.20")
	s.must(hatest.Until(s.ctx, func() bool { // what its clock has shown meanwhile is made up for
		_, err := os.Stat(at("b", "hand/daily/a"))
		return err == nil
	}))
	if kept, err := os.ReadFile(at("b", "zones/example.org.jnl.keep")); err != nil || string(kept) != "of b\n" {
		t.Errorf("what is excluded: %q, %v", kept, err)
	}
	if out, talk, err := pair["b"].tell("sync", "rollback", "zones"); err != nil || out != "zones: the version before is in place, and stays until the files change on the source\n" {
		t.Error(out, talk)
	}
	serves("192.0.2.10")
	held := func(s ha.SyncStatus) bool { return s.Name == "zones" && s.Held != nil }
	s.must(hatest.Until(s.ctx, func() bool { st, err := pair["b"].status(); return err == nil && slices.ContainsFunc(st.Syncs, held) }))
	if out, talk, err := pair["b"].tell("sync"); err != nil || !strings.Contains(out, "zones: a rollback keeps away what a has until it changes there; to copy it: kvmha") {
		t.Error(out, talk, err)
	}
	if out, _, err := pair["b"].tell("status"); err != nil || !strings.Contains(out, "\nsync zones: rolled back ") {
		t.Error(out, err)
	}
	serves("192.0.2.10")
	if out, talk, err := pair["b"].tell("sync", "zones"); err != nil || out != "zones: from a: 0 new, 1 changed, 0 deleted\n" {
		t.Error(out, talk, err)
	}
	serves("192.0.2.20")
	if out, talk, err := pair["b"].tell("sync", "versions", "zones"); err != nil || strings.Count(out, "\n") != 3 {
		t.Error(out, talk, err)
	}

	// A zone that BIND refuses stays away, and its words reach people.
	s.put(at("a", "zones/example.org"), "www IN A 192.0.2.30\nbroken\n")
	if out, talk, err := pair["b"].tell("sync", "zones"); exitCode(err) != 3 || !strings.Contains(talk, "refused by /usr/bin/named-checkconf -z") {
		t.Errorf("a broken zone by hand: %s %s %v", out, talk, err)
	}
	if now, err := os.ReadFile(at("b", "zones/example.org")); err != nil || strings.Contains(string(now), "broken") {
		t.Errorf("b has %s, %v", now, err)
	}

	// An empty source over a full standby, and the wrong direction.
	s.must(os.Remove(at("a", "hand/zones/one")))
	if _, talk, err := pair["b"].tell("sync", "byhand"); exitCode(err) != 3 || !strings.Contains(talk, "is empty on the source, and has 1 files here") {
		t.Errorf("an empty source: %s %v", talk, err)
	}
	if _, talk, err := pair["a"].tell("sync", "byhand"); exitCode(err) != 3 || !strings.Contains(talk, ha.ErrSource.Error()) {
		t.Errorf("the active node copies: %s %v", talk, err)
	}
	if _, talk, err := pair["a"].tell("sync-shell", "b", "byhand", "0", "b", "rsync", "--server", "--sender", "/etc/"); err == nil ||
		!strings.Contains(talk, "this node is not active in group web: it is not the source") {
		t.Errorf("a standby gives: %s %v", talk, err)
	}

	// Meanwhile the agent has tried, too.
	var said []byte
	if hatest.Until(s.ctx, func() bool {
		said, err = os.ReadFile(at("b", "alerts"))
		return err == nil && strings.Contains(string(said), `"sync"`) && strings.Contains(string(said), "no TTL specified")
	}) != nil {
		t.Fatalf("alerts: %s, %v", said, err)
	}
	s.put(at("a", "zones/example.org"), zone(4, "192.0.2.40"))
	if _, talk, err := pair["b"].tell("sync", "zones"); err != nil {
		t.Errorf("a repaired zone: %s %v", talk, err)
	}
	serves("192.0.2.40")
}
