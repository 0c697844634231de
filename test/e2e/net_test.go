package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/debguest"
)

// TestNetworksOnDebiansKernel shows what the kernel of the tests' machine may lack: VLAN filtering, policing, vhost-net, dummy
// interfaces, and the guard as a unit of systemd's. The tests of netbridge run there once more, with refusals counted as failures.
func TestNetworksOnDebiansKernel(t *testing.T) {
	testenv.Need(t, testenv.E2E, "mmdebstrap", "mke2fs", "go")
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	base, err := debguest.Build(ctx, debguest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, args := range map[string][]string{
		"kvmctl":         {"build", "-o", filepath.Join(bin, "kvmctl"), "kvmctl/cmd/kvmctl"},
		"netbridge.test": {"test", "-c", "-o", filepath.Join(bin, "netbridge.test"), "kvmctl/netbridge"},
		"guard.test":     {"test", "-c", "-o", filepath.Join(bin, "guard.test"), "kvmctl/netbridge/guard"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", name, err, out)
		}
	}
	disk := filepath.Join(t.TempDir(), "debian.img")
	err = base.Image(ctx, disk, "3G", func(root string) error {
		for _, name := range []string{"kvmctl", "netbridge.test", "guard.test"} {
			b, err := os.ReadFile(filepath.Join(bin, name))
			if err != nil {
				return err
			}
			if err := debguest.WriteFile(root, "usr/local/bin/"+name, string(b), 0o755); err != nil {
				return err
			}
		}
		if err := debguest.WriteFile(root, "etc/kvm/kvm.toml", netHost, 0o644); err != nil {
			return err
		}
		return debguest.WriteFile(root, "etc/kvm/vm1/vm.toml", netGuest, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	g, err := base.Boot(ctx, debguest.Options{Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, step := range []struct{ name, script, want string }{
		{"the tests of netbridge on a kernel that can everything",
			`cd /tmp && modprobe tun && NETBRIDGE_FULL_KERNEL=1 KVM_TEST_TIERS=all KVM_TEST_STRICT=1 netbridge.test -test.v -test.run \
 'TheKernelKeeps|VLAN|Rate|OwnAddress|HearsEverything|ForgedFrame|VirtualHost' >log 2>&1; echo $?; ! grep '^--- FAIL' log || tail -n 60 log`, "0\n"},
		{"a change is undone exactly", `cd /tmp && KVM_TEST_TIERS=all KVM_TEST_STRICT=1 guard.test -test.run 'Exactly|EarlierBoot' >log 2>&1; echo $?; grep -v '^ok' log | head -40`, "0\nPASS\n"},
		{"the guard is a unit of its own and undoes a move of a dummy card", `exec 2>&1
modprobe dummy; ip link add eth7 type dummy; ip addr add 10.77.0.2/24 dev eth7; ip link set eth7 up
ip addr show dev eth7 | grep -o 'inet 1.*' >/tmp/was
kvmctl net apply --timeout 20s >/dev/null 2>&1; echo apply $?
systemctl show -P ActiveState kvm-net-guard.service
ip -br addr show dev br7 | grep -c 10.77.0.2/24
for i in $(seq 100); do [ -e /var/lib/kvm/.net-rollback.json ] || break; sleep 0.5; done
ip addr show dev eth7 | grep -o 'inet 1.*' | cmp - /tmp/was && echo 'as before'
ip link show br7 >/dev/null 2>&1 || echo 'no bridge'
systemctl show -P ActiveState kvm-net-guard.service`,
			"apply 0\nactive\n1\nas before\nno bridge\ninactive\n"},
		{"a guard killed by SIGKILL is made up for by the next command", `exec 2>&1
kvmctl net apply --timeout 600s >/dev/null 2>&1; echo apply $?
systemctl kill -s KILL kvm-net-guard.service
for i in $(seq 100); do [ "$(systemctl show -P ActiveState kvm-net-guard.service)" = inactive ] && break; sleep 0.2; done
kvmctl list >/tmp/log 2>&1
ip addr show dev eth7 | grep -o 'inet 1.*' | cmp - /tmp/was && echo 'as before' || cat /tmp/log`, "apply 0\nas before\n"},
		{"a guest with vhost, a VLAN and a rate", `exec 2>&1
modprobe vhost_net
kvmctl net apply >/tmp/log 2>&1 && kvmctl net confirm >>/tmp/log 2>&1 && echo applied || cat /tmp/log
kvmctl start vm1 >/tmp/log 2>&1 || cat /tmp/log
pid=$(cat /run/kvm/vm1/qemu.pid)
tr '\0' '\n' <"/proc/$pid/cmdline" | grep -o 'vhost=on,vhostfd'
ls -l "/proc/$pid/fd" | grep -c vhost-net
tap=$(ip -o link show type tun | grep -o 'kv[0-9.]*' | head -n1)
bridge -d link show dev "$tap" | grep -o 'learning off\|locked on'
bridge vlan show dev "$tap" | grep -o '30 PVID.*'
bridge vlan show dev eth7 | grep -cE ' (1 PVID|2-4094|4094)' | sed 's/[1-9][0-9]*/carries them/'
tc qdisc show dev "$tap" | grep -o 'tbf\|ingress'
tc filter show dev "$tap" ingress | grep -o 'police.*rate [0-9A-Za-z]*' | sed 's/police.*rate/police/'
kvmctl stop vm1 --force >/dev/null 2>&1; echo stop $?
ip -o link show type tun | wc -l`,
			"applied\nvhost=on,vhostfd\n1\nlearning off\nlocked on\n30 PVID Egress Untagged\ncarries them\ntbf\ningress\npolice 8Mbit\nstop 0\n0\n"},
		{"a confirmed move is made again at boot", `exec 2>&1
ip link del br7; ip addr flush dev eth7; ip addr add 10.77.0.2/24 dev eth7
kvmctl net apply --boot >/dev/null 2>&1; echo boot $?
ip -br addr show dev br7 | grep -c 10.77.0.2/24
[ -e /var/lib/kvm/.net-rollback.json ] || echo 'nothing waits'`, "boot 0\n1\nnothing waits\n"},
	} {
		began := time.Now()
		got, err := g.Run(ctx, step.script)
		if err != nil {
			got += err.Error()
		}
		t.Logf("%s: %v", step.name, time.Since(began).Round(time.Second))
		if got != step.want {
			t.Errorf("%s: got\n%s\nwant\n%s", step.name, indent(got), indent(step.want))
		}
	}
	if err := g.PowerOff(ctx); err != nil {
		t.Error(err)
	}
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
}

const netHost = `[[bridge]]
name = "br7"
uplink = "eth7"
address = "keep"
vlan_filtering = true
`

const netGuest = `memory = "64M"
[vnc]
display = "none"
[[nic]]
bridge = "br7"
vhost = "on"
vlan = 30
rate = "8Mbit"
`
