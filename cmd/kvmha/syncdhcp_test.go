package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/internal/proc"
	"kvmctl/internal/testenv"
)

// The standby's real dhcpd runs with the active node's dhcpd.conf, keeps its own leases, and never comes to see a file that dhcpd -t refuses.
func TestAChangedDHCPConfigurationIsThatOfTheStandby(t *testing.T) {
	testenv.Need(t, testenv.Netns, "rsync", "dhcpd")
	s := start(t)
	etc := t.TempDir()
	s.must(os.Chmod(etc, 0o755))
	at := func(node, name string) string { return filepath.Join(etc, node, "dhcp", name) }
	conf := func(domain string) string {
		return fmt.Sprintf("authoritative;\nping-check false;\noption domain-name %q;\nsubnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.200 10.77.0.210; }\n", domain)
	}
	s.put(at("b", "dhcpd.leases"), "")
	s.put(at("a", "dhcpd.leases"), "# of a\n")
	s.put(at("a", "dhcpd.conf"), conf("one.example.org"))
	s.put(at("b", "dhcpd.conf"), conf("none.example.org"))
	daemon := filepath.Join(etc, "dhcpd")
	s.put(daemon, fmt.Sprintf("#!/bin/sh\n# isc-dhcp-server's init script in short: dhcpd cannot reload.\nif [ -s %[1]s/pid ]; then kill $(cat %[1]s/pid); while [ -d /proc/$(cat %[1]s/pid) ]; do sleep 0.02; done; fi\n"+
		"exec /usr/sbin/dhcpd -4 -q -cf %[2]s -lf %[3]s -pf %[1]s/pid eth0\n", etc, at("b", "dhcpd.conf"), at("b", "dhcpd.leases")))
	s.must(os.Chmod(daemon, 0o755))
	t.Cleanup(func() {
		if pid, err := proc.ReadPIDFile(filepath.Join(etc, "pid")); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	pair := map[string]*agent{}
	pair["a"], pair["b"] = s.paired(func(n *hatest.Node) netip.Addr { return n.Addr }, steady)
	b := s.lab.Node("b")
	gives := func(domain string) {
		t.Helper()
		file := filepath.Join(etc, "probe-"+domain+".toml")
		s.must(os.WriteFile(file, fmt.Appendf(nil, "%s[[group.web.check]]\ntype = \"dhcp\"\ntarget = %q\noptions = [%q]\n",
			group("web", s.vip, 0, ""), b.Addr.String()+":67", "domain-name="+domain), 0o600))
		var last string
		if hatest.Until(s.ctx, func() bool {
			out, talk, err := pair["a"].tell("--config", file, "probe")
			if err != nil && s.ctx.Err() == nil {
				last = out + talk
			}
			if exitCode(err) == 2 {
				t.Fatal(talk)
			}
			return err == nil
		}) != nil {
			t.Fatalf("b does not give %s: %s", domain, last)
		}
	}
	for n, x := range pair {
		own, err := os.ReadFile(filepath.Join(x.root, "etc/kvmha.toml"))
		s.must(err)
		x.write(string(own) + fmt.Sprintf(`
[[sync]]
name = "dhcp"
group = "web"
paths = ["%[1]s/"]
exclude = ["dhcpd.leases*"]
validate = ["/usr/sbin/dhcpd", "-t", "-cf", "%[1]s/dhcpd.conf"]
reload = [%[2]q]
%[4]s
[command]
run = ["/bin/sh", "-c", "cat >>%[3]s"]
`, at(n, ""), daemon, filepath.Join(etc, n+".alerts"), often(n)))
		if _, talk, err := x.tell("reload"); err != nil {
			t.Fatal(talk)
		}
	}
	pair["b"].sees("active")
	gives("one.example.org")
	s.put(at("a", "dhcpd.conf"), conf("two.example.org"))
	gives("two.example.org")
	pid, err := os.ReadFile(filepath.Join(etc, "pid"))
	s.must(err)

	s.put(at("a", "dhcpd.conf"), conf("three.example.org")+"subnet 10.78.0.0 netmask none {}\n")
	var said []byte
	if hatest.Until(s.ctx, func() bool {
		said, err = os.ReadFile(filepath.Join(etc, "b.alerts"))
		return err == nil && strings.Contains(string(said), `"sync"`) && strings.Contains(string(said), "line 5: expecting numeric value")
	}) != nil {
		t.Fatalf("alerts: %s, %v", said, err)
	}
	if _, talk, err := pair["b"].tell("sync", "dhcp"); exitCode(err) != 3 || !strings.Contains(talk, "refused by /usr/sbin/dhcpd -t -cf") {
		t.Errorf("a broken file by hand: %s %v", talk, err)
	}
	gives("two.example.org")
	if now, err := os.ReadFile(filepath.Join(etc, "pid")); err != nil || string(now) != string(pid) {
		t.Errorf("dhcpd was %s and is %s, %v", pid, now, err)
	}
	if leases, err := os.ReadFile(at("b", "dhcpd.leases")); err != nil || strings.Contains(string(leases), "# of a") || !strings.Contains(string(leases), "authoring-byte-order") {
		t.Errorf("the leases: %s, %v", leases, err)
	}

	// Without its exclude the leases would be copied: that is told before it happens.
	file, err := os.ReadFile(filepath.Join(pair["b"].root, "etc/kvmha.toml"))
	s.must(err)
	if out, _, err := pair["b"].tell("check"); err != nil || strings.Contains(out, "dhcpd.leases") {
		t.Errorf("%s, %v", out, err)
	}
	careless := filepath.Join(etc, "careless.toml")
	s.must(os.WriteFile(careless, []byte(strings.Replace(string(file), "exclude =", "# exclude =", 1)), 0o600))
	if out, _, err := pair["b"].tell("check", careless); err != nil || !strings.Contains(out, fmt.Sprintf("Sync \"dhcp\" would copy %s and 1 more like it (the leases of dhcpd), which belongs to one node.\n      type: exclude = [\"dhcpd.leases*\"]\n",
		at("b", "dhcpd.leases"))) {
		t.Errorf("%s, %v", out, err)
	}
}
