package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/internal/systemd"
)

// degraded waits until the status says something of what works less well.
func (a *agent) degraded(word string) {
	a.s.t.Helper()
	var last []string
	if err := hatest.Until(a.s.ctx, func() bool {
		st, err := a.status()
		last = st.Degraded
		return err == nil && strings.Contains(strings.Join(last, "\n"), word)
	}); err != nil {
		a.s.t.Errorf("never degraded by %q: %q", word, last)
	}
}

// Cases 16 and 20: nothing fits on the disk of state, audit log and spool, and nobody listens at the relay. The group moves all the same, and
// what could not be written is there when there is room again.
func TestCase16AFullDiskAndCase20ADeadRelay(t *testing.T) {
	s := start(t)
	root, err := os.MkdirTemp("", "ha")
	s.must(err)
	t.Cleanup(func() { os.RemoveAll(root) })
	disk := filepath.Join(root, "var/lib/kvmha")
	s.must(os.MkdirAll(disk, 0o755))
	s.must(unix.Mount("kvmctl-test", disk, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { s.must(unix.Unmount(disk, unix.MNT_DETACH)) })
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<10), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	mail := "[mail]\nrelay = \"127.0.0.1:9\"\ntls = \"none\"\nfrom = \"kvmha@example.org\"\nto = [\"admin@example.org\"]\n"
	a := s.agentAt("a", root, mail+group("web", s.vip, 0, ""))
	a.role("active")
	a.degraded("no space left on device")
	u := s.ucarp("b", 100, false)
	s.must(hatest.Until(s.ctx, func() bool { return strings.Contains(u.Output(), "BACKUP") }))
	begin := time.Now()
	if out, err := a.ask("switch", "web"); err != nil {
		t.Errorf("switch: %v %s", err, out)
	}
	s.answers("b", begin)
	a.role("standby")
	if g := a.web(); g.CARP.Late > 1 {
		t.Errorf("an advert was %.1f s late", g.CARP.Late)
	}
	s.must(os.Remove(filler))
	if err := hatest.Until(s.ctx, func() bool {
		text, err := os.ReadFile(filepath.Join(disk, "audit.jsonl"))
		return err == nil && strings.Contains(string(text), `"from":"promoting"`) && strings.Contains(string(text), `"from":"demoting"`)
	}); err != nil {
		t.Error("the audit log was not written when there was room")
	}
	// The mails stay in memory until a try of the relay's, at the latest until the agent ends.
	s.must(a.Signal(unix.SIGTERM))
	if err := a.Wait(s.ctx); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if kept, err := filepath.Glob(filepath.Join(disk, "spool/*/*.json")); err != nil || len(kept) == 0 {
		t.Errorf("no mail is left in the spool: %v", err)
	}
	s.noDual()
}

// A unit of systemd's where there is none: its group says so, and cannot be sure that the unit does not run; the other one
// serves.
func TestNoSystemdButAUnitOfIts(t *testing.T) {
	s := start(t)
	if systemd.Booted() {
		t.Skip("systemd runs here")
	}
	second := strings.Replace(group("dns", s.vip.Next(), 0, ""), fmt.Sprintf("vhid = %d", vhid), "vhid = 43", 1)
	a := &agent{s: s, node: s.lab.Node("a"), root: t.TempDir()}
	a.write(second + group("web", s.vip, 0, "[[group.web.unit]]\nname = \"kvmha-test-of-nobody.service\"\n"))
	c := a.node.Command(context.Background(), "/proc/self/exe", "--root", a.root, "run")
	c.Env = append(os.Environ(), asAgent+"=1", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent/bus")
	var err error
	a.Process, err = a.node.StartCmd("kvmha", c)
	s.must(err)
	a.role("active") // the first of the names, dns
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		return err == nil && len(st.Groups) == 2 && st.Groups[1].Role == "stuck" &&
			strings.Contains(st.Groups[1].Cause, "kvmha-test-of-nobody.service: reach systemd at /run/systemd/private: ")
	}); err != nil {
		t.Fatalf("it does not say what is missing:\n%s", a.Output())
	}
	st, err := a.status()
	s.must(err)
	t.Logf("%q %q", st.Groups[1].Cause, st.Groups[1].Alarms)
	if st.Groups[0].Role != "active" {
		t.Errorf("the other group is %s", st.Groups[0].Role)
	}
	if has, err := a.node.Holds(s.vip); err != nil || has {
		t.Errorf("it has the address without its unit: %v", err)
	}
}

// A file of 2 MB is refused before anything is done, by whoever reads it.
func TestAConfigurationOfTwoMegabytes(t *testing.T) {
	s := start(t)
	a := &agent{s: s, node: s.lab.Node("a"), root: t.TempDir()}
	a.write(group("web", s.vip, 0, "") + strings.Repeat("# a comment of a line's length\n", 2<<20/31))
	for _, verb := range []string{"check", "run"} {
		out, err := a.ask(verb)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out+err.Error(), "larger than 1M") {
			t.Errorf("%s: %v %.200s, want exit code 2", verb, err, out)
		}
	}
}
