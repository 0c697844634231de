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

// hostNetwork is how the host of this test gets its card and its address at each boot.
const hostNetwork = `[Unit]
DefaultDependencies=no
Before=network-pre.target network.target
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=modprobe dummy
ExecStart=ip link add eth7 type dummy
ExecStart=ip addr add 10.77.0.2/24 dev eth7
ExecStart=ip link set eth7 up
[Install]
WantedBy=multi-user.target
`

// TestAnUnconfirmedMoveIsUndoneByAReboot cuts the power of a host while a move of its own card waits for `net confirm`: after the boot the
// card has its address as ever, and kvm.service does not make the move again.
func TestAnUnconfirmedMoveIsUndoneByAReboot(t *testing.T) {
	testenv.Need(t, testenv.E2E, "mmdebstrap", "mke2fs", "go")
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	base, err := debguest.Build(ctx, debguest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "kvmctl")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "kvmctl/cmd/kvmctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build kvmctl: %v: %s", err, out)
	}
	service, err := os.ReadFile("../../contrib/systemd/kvm.service")
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "debian.img")
	err = base.Image(ctx, disk, "3G", func(root string) error {
		program, err := os.ReadFile(bin)
		if err != nil {
			return err
		}
		for _, f := range []struct {
			name, text string
			perm       os.FileMode
		}{
			{"usr/local/bin/kvmctl", string(program), 0o755},
			{"etc/kvm/kvm.toml", netHost, 0o644},
			{"etc/systemd/system/host-network.service", hostNetwork, 0o644},
			{"etc/systemd/system/kvm.service", strings.ReplaceAll(string(service), "@BINDIR@", "/usr/local/bin"), 0o644},
		} {
			if err := debguest.WriteFile(root, f.name, f.text, f.perm); err != nil {
				return err
			}
		}
		wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		for _, unit := range []string{"host-network.service", "kvm.service"} {
			if err := os.Symlink("/etc/systemd/system/"+unit, filepath.Join(wants, unit)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	const look = `exec 2>&1
for i in $(seq 120); do systemctl is-active -q kvm.service && break; sleep 1; done; systemctl is-active kvm.service
ip -br addr show dev eth7 | grep -c 10.77.0.2/24
ip -br addr show dev br7 2>/dev/null | grep -c 10.77.0.2/24
[ -e /var/lib/kvm/.net-rollback.json ] && echo waits || echo 'nothing waits'`
	const asEver = "active\n1\n0\nnothing waits\n"
	for _, boot := range []struct {
		name, want   string // at its beginning
		script, says string
	}{
		{"the first", asEver, `kvmctl net apply --timeout 900s >/dev/null 2>&1; echo apply $?
ip -br addr show dev br7 | grep -c 10.77.0.2/24
[ -e /var/lib/kvm/.net-rollback.json ] && echo waits; sync`, "apply 0\n1\nwaits\n"},
		{"after a power cut before the move was confirmed", asEver, "true", ""},
	} {
		began := time.Now()
		g, err := base.Boot(ctx, debguest.Options{Disk: disk})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ script, want string }{{look, boot.want}, {boot.script, boot.says}} {
			got, err := g.Run(ctx, step.script)
			if err != nil {
				got += err.Error()
			}
			if got != step.want {
				journal, _ := g.Run(ctx, "journalctl -b -u kvm.service --no-pager | tail -20")
				t.Errorf("%s boot: got\n%s\nwant\n%s\nkvm.service said\n%s", boot.name, indent(got), indent(step.want), indent(journal))
			}
		}
		t.Logf("%s boot: %v", boot.name, time.Since(began).Round(time.Second))
		g.Close() // a power cut
	}
}
