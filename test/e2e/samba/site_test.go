package samba

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/test/debguest"
)

// Addresses and names are the seed's.
const (
	share    = "/iut/admin"
	address  = "10.2.0.2"
	suffix   = "dc=iut,dc=example"
	password = "namarie" // of anne, and of the directory's admin
)

// varda is one of the two nodes.
type varda struct {
	t         *testing.T
	name      string
	lan, drbd string // addresses
	other     *varda
	base      *debguest.Base
	options   debguest.Options
	guest     *debguest.Guest // nil: without power
}

// config is its kvmha.toml. Samba's first answer is that of a program that it starts for it, which takes 10 s under tcg.
func (v *varda) config(skew int) string {
	return fmt.Sprintf(`node = %q
[peer.%s]
addresses = [%q, %q]
[group.varda]
interface = "eth0"
vhid = 210
addresses = [%q]
password = "mellon"
skew = %d
probe = false
alone = "vm-varda"
[[group.varda.drbd]]
resource = "admin"
[[group.varda.mount]]
device = "/dev/drbd0"
directory = %q
[[group.varda.unit]]
name = "slapd.service"
start_timeout = "2m"
[[group.varda.unit]]
name = "smbd.service"
start_timeout = "2m"
[[group.varda.check]]
type = "ldap"
target = "127.0.0.1:389"
base = "ou=people,%s"
timeout = "5s"
[[group.varda.check]]
type = "smb"
target = "127.0.0.1:445"
user = "anne"
password = %q
share = "admin"
interval = "5s"
timeout = "30s"
`, v.name, v.other.name, v.other.lan, v.other.drbd, address, skew, share, suffix, password)
}

// smbConf has all that Samba keeps on the share, and answers a write when it is on both disks.
const smbConf = `[global]
workgroup = IUT
netbios name = VARDA
disable netbios = yes
smb ports = 445
private dir = /iut/admin/samba
state directory = /iut/admin/samba/state
cache directory = /iut/admin/samba/cache
load printers = no
printcap name = /dev/null
[admin]
path = /iut/admin/share
read only = no
strict sync = yes
sync always = yes
`

const slapdConf = `include /etc/ldap/schema/core.schema
pidfile /run/slapd/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
sizelimit unlimited
loglevel 0
database mdb
suffix "` + suffix + `"
rootdn "cn=admin,` + suffix + `"
rootpw ` + password + `
directory /iut/admin/ldap
`

// link is a network card by systemd-networkd.
func link(name, address string) string {
	return fmt.Sprintf("[Match]\nName=%s\n[Network]\nAddress=%s/16\nLinkLocalAddressing=no\n", name, address)
}

// install puts into its image what an administrator would install by hand.
func (v *varda) install(ctx context.Context, root string) error {
	if out, err := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", "../../..", "install", "DESTDIR="+root).CombinedOutput(); err != nil {
		return fmt.Errorf("make install: %w: %s", err, out)
	}
	skew := 0
	if v.name == "vm-varda" {
		skew = 100
	}
	for path, text := range map[string]string{
		"etc/hostname":                     v.name + "\n",
		"etc/hosts":                        fmt.Sprintf("127.0.0.1 localhost\n%s %s\n%s %s\n", v.lan, v.name, v.other.lan, v.other.name),
		"etc/systemd/network/eth0.network": link("eth0", v.lan),
		"etc/systemd/network/eth1.network": link("eth1", v.drbd),
		"etc/samba/smb.conf":               smbConf,
		"etc/ldap/slapd.conf":              slapdConf,
		"etc/default/slapd":                "SLAPD_CONF=/etc/ldap/slapd.conf\nSLAPD_USER=openldap\nSLAPD_GROUP=openldap\nSLAPD_SERVICES=ldap:///\n",
		"etc/kvmha.toml":                   v.config(skew),
	} {
		if err := debguest.WriteFile(root, path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// newSite makes both nodes' disks, and the bridges between them and the clients, who are here.
func newSite(ctx context.Context, t *testing.T) (a, b *varda) {
	t.Helper()
	base, err := debguest.Build(ctx, debguest.DefaultDir(), packages...)
	if err != nil {
		t.Fatal(err)
	}
	a = &varda{t: t, name: "varda2", lan: "10.2.0.102", drbd: "10.4.0.102", base: base}
	b = &varda{t: t, name: "vm-varda", lan: "10.2.0.202", drbd: "10.4.0.202", base: base, other: a}
	a.other = b
	here(t, "ip link add lan type bridge forward_delay 0", "ip addr add 10.2.0.1/16 dev lan", "ip link set lan up", "ip link add drbd type bridge forward_delay 0", "ip link set drbd up")
	dir := t.TempDir()
	for i, v := range []*varda{a, b} {
		v.options = debguest.Options{Disk: filepath.Join(dir, v.name+".img"), CPUs: 1, Args: []string{"-drive", "if=virtio,format=raw,file=" + filepath.Join(dir, v.name+".data")}}
		for n, bridge := range []string{"lan", "drbd"} {
			tap := fmt.Sprintf("tap%d%d", i, n)
			here(t, "ip tuntap add "+tap+" mode tap", "ip link set "+tap+" master "+bridge+" up")
			v.options.Args = append(v.options.Args, "-netdev", fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no", n, tap),
				"-device", fmt.Sprintf("virtio-net-pci,netdev=n%d,mac=52:54:00:00:%02x:%02x", n, n, i))
		}
		if err := os.WriteFile(filepath.Join(dir, v.name+".data"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, v.name+".data"), 256<<20); err != nil {
			t.Fatal(err)
		}
	}
	both(t, a, b, func(v *varda) error {
		return base.Image(ctx, v.options.Disk, "4G", func(root string) error { return v.install(ctx, root) })
	})
	t.Cleanup(func() { a.cut(); b.cut() })
	return a, b
}

// here runs commands in the client's place.
func here(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		argv := strings.Fields(c)
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c, err, out)
		}
	}
}

// both does something to both nodes at once.
func both(t *testing.T, a, b *varda, f func(*varda) error) {
	t.Helper()
	var all sync.WaitGroup
	for _, v := range []*varda{a, b} {
		all.Go(func() {
			if err := f(v); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (v *varda) boot(ctx context.Context) (err error) {
	v.guest, err = v.base.Boot(ctx, v.options)
	return err
}

// cut takes its power.
func (v *varda) cut() {
	if v.guest != nil {
		v.guest.Close()
		v.guest = nil
	}
}

// sh runs a script and shows it as a terminal would.
func (v *varda) sh(ctx context.Context, script string) (string, error) {
	out, err := v.guest.Run(ctx, "exec 2>&1; "+script)
	v.t.Logf("%s %s# %s\n%s", time.Now().Format("15:04:05.0"), v.name, script, out)
	return out, err
}

func (v *varda) must(ctx context.Context, script string) string {
	v.t.Helper()
	out, err := v.sh(ctx, script)
	if err != nil {
		v.explain(ctx)
		v.t.Fatalf("%s: %s: %v", v.name, script, err)
	}
	return out
}

// until waits for a script to succeed.
func (v *varda) until(ctx context.Context, within time.Duration, script string) {
	v.t.Helper()
	began := time.Now()
	if _, err := v.guest.Run(ctx, fmt.Sprintf("up() { read -r up _ </proc/uptime; echo ${up%%.*}; }; end=$(($(up) + %d)); until { %s; } >/dev/null 2>&1; do [ $(up) -lt $end ] || exit 1; sleep 0.5; done",
		int(within.Seconds()), script)); err != nil {
		v.explain(ctx)
		v.t.Fatalf("%s: not within %v: %s: %v", v.name, within, script, err)
	}
	v.t.Logf("%s %s: after %.1f s: %s", time.Now().Format("15:04:05.0"), v.name, time.Since(began).Seconds(), script)
}

// explain shows what a node knows, when something is not as it should be.
func (v *varda) explain(ctx context.Context) {
	for _, n := range []*varda{v, v.other} {
		if n.guest != nil {
			_, _ = n.sh(ctx, "kvmha status; kvmha drbd status; kvmha log | tail -n 20; journalctl -b -u kvmha -u smbd -u slapd -o short-monotonic --no-pager | tail -n 40")
		}
	}
}
