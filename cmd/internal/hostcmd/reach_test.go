package hostcmd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"kvmctl/internal/testenv"
	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// inNetns marks the process that runs a test again in a network namespace of its own.
const inNetns = "KVMCTL_TEST_IN_NETNS"

// ownNetwork runs the test in a process whose network is its own and empty. False: that was done, and there is nothing left to do.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	testenv.Need(t, testenv.QEMU)
	if os.Getenv(inNetns) != "" {
		return true
	}
	if _, err := guest.Build(t.Context(), guest.DefaultDir()); err != nil { // in there is no network to get it by
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*vmtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNetns+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Fatalf("in a network of its own: %v", err)
	}
	return false
}

func TestWaitForAPort(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	h := vmtest.Host(t)
	spec := vmtest.WithAgent(t, vmtest.Spec(t, h, olorin, "ip=10.77.0.2/24", "gw=10.77.0.1"))
	spec.NICs = []vm.NIC{{Bridge: "brtest", Model: "virtio", Queues: 1}}
	configure(t, h, spec)
	hostFile := filepath.Join(h.EtcDir(), "kvm.toml")
	text, err := os.ReadFile(hostFile)
	if err != nil {
		t.Fatal(err)
	}
	put(t, hostFile, append(text, "[[bridge]]\nname = \"brtest\"\naddress = \"10.77.0.1/24\"\n"...))
	must := func(stdin string, args ...string) (talk string) {
		t.Helper()
		code, _, talk := kvmctl(t, h, stdin, args...)
		if code != 0 {
			t.Fatalf("kvmctl %s: exit code %d: %s", strings.Join(args, " "), code, talk)
		}
		return talk
	}
	waits := func(code int, want string) {
		t.Helper()
		got, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "tcp:8080", "--timeout", map[bool]string{true: "60s", false: "500ms"}[code == 0])
		if got != code {
			t.Errorf("exit code %d, want %d", got, code)
		}
		match(t, "stderr", talk, want)
	}
	const here = `kvmctl: vm-olorin answers at 10\.77\.0\.2:8080, after [\dms]+\n`
	must("", "start", olorin)
	must("", "wait", olorin, "--for", "agent")
	must("", "wait", olorin, "--for", "console:guest ready")
	waits(5, `kvmctl: error: cannot wait for vm-olorin: waited [.\d]+m?s in vain: 10\.77\.0\.2:8080 does not answer: connect: connection refused\nkvmctl: hint: .*\n`)
	must("httpd -p 8080\n", "console", olorin)
	forget(t)
	waits(0, here) // by the agent: the neighbour table knows nothing

	must("kill $(cat /run/qemu-ga.pid)\n", "console", olorin)
	must("arping -c 1 -I eth0 10.77.0.1\n", "console", olorin)
	waits(0, here) // by the neighbour table: nobody else is left

	must("ip link set eth0 down\n", "console", olorin) // it would tell the host by itself
	forget(t)
	waits(5, `kvmctl: error: cannot wait for vm-olorin: waited [.\d]+m?s in vain: its address is unknown: the guest agent does not answer, and the host has not met its cards\n`+
		"kvmctl: hint: say `address = \"…\"` in \\[guest\\] of vm\\.toml, or run qemu-guest-agent in the guest, or let the guest talk to the host once \\(ping\\)\n")

	toml, err := os.ReadFile(h.GuestToml(olorin))
	if err != nil {
		t.Fatal(err)
	}
	put(t, h.GuestToml(olorin), append(toml, "[guest]\naddress = \"10.77.0.2\"\n"...))
	must("ip link set eth0 up\n", "console", olorin)
	waits(0, here) // by vm.toml
}

// forget empties the host's neighbour table.
func forget(t *testing.T) {
	t.Helper()
	l, err := netlink.LinkByName("brtest")
	if err != nil {
		t.Fatal(err)
	}
	all, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if err := netlink.NeighDel(&n); err != nil && !strings.Contains(err.Error(), "no such") {
			t.Fatalf("forget %v: %v", n, err)
		}
	}
}
