package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/debguest"
	"kvmctl/test/guest"
)

// report is what was seen, printed as a table at the end.
type report struct {
	t     *testing.T
	began time.Time
	rows  []string
	// failures are the rows among them that are not as promised.
	failures []string
}

// saw notes a fact, and whether it is what was promised.
func (r *report) saw(ok bool, what, seen string) {
	r.t.Helper()
	verdict := "yes"
	if !ok {
		verdict = "NO"
		r.t.Errorf("%s: %s", what, seen)
	}
	row := fmt.Sprintf("%5s  %-4s%-62s %.300s", time.Since(r.began).Round(time.Second), verdict, what, strings.Join(strings.Fields(seen), " "))
	r.t.Log(row) // now, for who waits; and all together at the end
	r.rows = append(r.rows, row)
	if !ok {
		r.failures = append(r.failures, row)
	}
}

func (r *report) print() {
	r.t.Logf("what was seen:\n%s", strings.Join(r.rows, "\n"))
}

// machine is a Debian with kvmctl installed and guests of its own.
type machine struct {
	*report
	ctx context.Context
	g   *debguest.Guest
}

// run runs a script and gives its output; a failure ends the test.
func (m *machine) run(script string) string {
	m.t.Helper()
	out, err := m.g.Run(m.ctx, script)
	if err != nil {
		m.t.Fatalf("%s: %v", script, err)
	}
	return out
}

// check runs a script whose output has to match.
func (m *machine) check(what, script, want string) {
	m.t.Helper()
	out, err := m.g.Run(m.ctx, script)
	if err != nil {
		out += err.Error()
	}
	m.saw(err == nil && regexp.MustCompile(want).MatchString(out), what, out)
}

// guestToml is a guest with the tests' small Linux in it; under an emulation in an emulation it needs a minute to boot or shut down.
const guestToml = `memory = "192M"
cpus_max = 1
kernel = "/var/lib/kvm/vmlinuz"
initrd = "/var/lib/kvm/initrd"
cmdline = "` + guest.Cmdline + `"
stop_timeout = "4m"
[vnc]
display = "none"
[guest]
agent = false
[hooks]
on_crash = "hook"
post_stop = "hook"
`

const hook = "#!/bin/sh\necho \"$KVM_HOOK of $KVM_VM\" >>/var/log/hooks\n"

// install puts kvmctl and three guests into a Debian: vm-n starts at boot, vm-off does not, vm-broken cannot.
func install(ctx context.Context, root string, images guest.Images) error {
	for _, args := range [][]string{
		{"make", "--no-print-directory", "-C", "../..", "install", "DESTDIR=" + root},
		{"systemctl", "--quiet", "--root=" + root, "enable", "kvm.service"},
		{"install", "-D", "-m", "644", images.Kernel, root + "/var/lib/kvm/vmlinuz"},
		{"install", "-m", "644", images.Initrd, root + "/var/lib/kvm/initrd"},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	for name, text := range map[string]string{
		"etc/kvm/kvm.toml":                     "shutdown_budget = \"5m\"\n[defaults]\naccel = \"tcg\"\n",
		"etc/kvm/vm-n/vm.toml":                 "autostart = true\n" + guestToml + "[limits]\ncpu = \"150%\"\ncpu_weight = 200\nmemory = \"512M\"\nio_weight = 50\ntasks = 123\n",
		"etc/kvm/vm-off/vm.toml":               guestToml,
		"etc/kvm/vm-broken/vm.toml":            "autostart = true\n" + strings.Replace(guestToml, "/var/lib/kvm/initrd", "/var/lib/kvm/gone", 1),
		"etc/systemd/logind.conf.d/harsh.conf": "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n", // a logout ends whatever is left in the session
	} {
		if err := debguest.WriteFile(root, name, text, 0o644); err != nil {
			return err
		}
	}
	for _, vm := range []string{"vm-n", "vm-off", "vm-broken"} {
		if err := debguest.WriteFile(root, "etc/kvm/"+vm+"/hook", hook, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// ssh is a login from outside, which gets a session and a scope of its own.
const ssh = "ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR root@127.0.0.1 "

// started waits until kvm.service has started what it can.
const started = `for i in $(seq 300); do systemctl is-active -q kvm.service && break; sleep 1; done; systemctl is-active kvm.service; `

// running shows vm-n once it answers: emulated twice, a QEMU that starts may be silent for longer than status waits.
const running = `for i in $(seq 60); do s=$(kvmctl status vm-n); echo "$s" | grep -q running && break; sleep 1; done; echo "$s"`

// TestBootAndShutdown is the promise of kvm.service on a real boot: guests start by themselves, survive what kills kvmctl or a session,
// are explained after a power cut, and are shut down in order before the host goes.
func TestBootAndShutdown(t *testing.T) {
	testenv.Need(t, testenv.E2E, "mmdebstrap", "mke2fs", "debugfs", "make", "systemctl")
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	base, err := debguest.Build(ctx, debguest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	images, err := guest.Build(ctx, guest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "debian.img")
	if err := base.Image(ctx, disk, "3G", func(root string) error { return install(ctx, root, images) }); err != nil {
		t.Fatal(err)
	}
	r := &report{t: t, began: time.Now()}
	defer r.print()
	boot := func() *machine {
		g, err := base.Boot(ctx, debguest.Options{Disk: disk, Memory: 1536})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Close)
		return &machine{r, ctx, g}
	}

	m := boot()
	m.check("kvm.service is active after the first boot, one guest broken", started, "^active\n$")
	m.check("vm-n started by itself", running, "vm-n +running .*started by kvm.service")
	m.check("vm-off started from an ssh login", ssh+"kvmctl start vm-off 2>&1", "vm-off started")
	m.run("sync")
	m.g.Kill() // a power cut

	m = boot()
	m.run(started)
	m.check("after the power cut: why vm-n is up", running, "(?m)^vm-n +running .*started by kvm.service$")
	m.check("after the power cut: why vm-off is not", "kvmctl status vm-off", "(?m)^vm-off +stopped .*the host went down while it ran and came up again, .* ago; autostart is off")
	m.check("after the power cut: why vm-broken is not", "kvmctl status vm-broken", "(?m)^vm-broken +stopped .*start failed: .*/var/lib/kvm/gone.*ago")
	scope(m)
	login(m)
	upgrade(m)
	crash(m)
	noManager(m)
	unitFiles(m)
	shutdown(m, disk)
}

func scope(m *machine) {
	for _, p := range []string{"Slice=kvm.slice", "DefaultDependencies=no", "SendSIGKILL=no", "CPUQuotaPerSecUSec=1.500000s", "CPUWeight=200",
		"MemoryMax=536870912", "IOWeight=50", "TasksMax=123", "OnSuccess=kvm-ended@vm-n.service", "OnFailure=kvm-ended@vm-n.service",
		"CollectMode=inactive-or-failed", "ActiveState=active"} {
		name, _, _ := strings.Cut(p, "=")
		m.check("scope of vm-n: "+name, "systemctl show kvm-vm-n.scope -p "+name, "^"+regexp.QuoteMeta(p)+"\n$")
	}
	m.check("scope of vm-n: Before", "systemctl show kvm-vm-n.scope -p Before", `\bkvm\.service\b`)
	m.check("QEMU is in it", "cat /proc/$(kvmctl status vm-n --json | sed -n 's/.*\"pid\": //p' | tr -d ,)/cgroup", "^0::/kvm.slice/kvm-vm-n.scope\n$")
	m.check("the kernel has the limit on memory", "cat /sys/fs/cgroup/kvm.slice/kvm-vm-n.scope/memory.max", "^536870912\n$")
	m.check("the kernel has the limit on CPU time", "cat /sys/fs/cgroup/kvm.slice/kvm-vm-n.scope/cpu.max", "^150000 100000\n$")
}

func login(m *machine) {
	m.check("an ssh login has a session of its own; vm-off started from it",
		ssh+"'cat /proc/self/cgroup; kvmctl start vm-off 2>&1' | tee /run/login", `^0::/user.slice/user-0.slice/session-[0-9]+.scope\nkvmctl: .*\n?.*vm-off started`)
	m.check("its session has ended", `d=/sys/fs/cgroup$(sed -n 's/^0:://p' /run/login); for i in $(seq 120); do [ -d $d ] || break; sleep 1; done; ls -d $d 2>&1 || true`, "No such file")
	m.check("after the logout, which kills what is left: it runs, in its scope",
		"cat /proc/$(kvmctl status vm-off --json | sed -n 's/.*\"pid\": //p' | tr -d ,)/cgroup", "^0::/kvm.slice/kvm-vm-off.scope\n$")
}

func upgrade(m *machine) {
	pid := m.run("kvmctl status vm-off --json | grep pid")
	m.run("cp /usr/local/bin/kvmctl /root/next && echo >>/root/next && mv /root/next /usr/local/bin/kvmctl")
	m.check("kvmctl replaced: the guest runs on", "kvmctl status vm-off --json | grep pid", "^"+regexp.QuoteMeta(pid)+"$")
	m.run("f=$(readlink -f /lib/x86_64-linux-gnu/libz.so.1) && cp $f $f.new && mv $f.new $f && " +
		"grep -q 'libz.*deleted' /proc/$(kvmctl status vm-off --json | sed -n 's/.*\"pid\": //p' | tr -d ,)/maps")
	m.saw(true, "a library replaced: without our file needrestart names", m.run("c=/etc/needrestart/conf.d/kvmctl.conf; mv $c /root; needrestart -b -r l -l | grep NEEDRESTART-; mv /root/kvmctl.conf $c"))
	m.check("with it no guest, and nothing of ours", "needrestart -b -r l -l | grep -ci -e kvm -e qemu-system || true", "^0\n$")
}

func crash(m *machine) {
	m.run("rm -f /var/log/hooks; kill -9 $(kvmctl status vm-off --json | sed -n 's/.*\"pid\": //p' | tr -d ,)")
	m.check("SIGKILL of QEMU: systemd had its end noted, with no other kvmctl",
		`for i in $(seq 120); do tail -n 3 /var/lib/kvm/vm-off/history.jsonl | grep -q '"kind":"end"' && break; sleep 1; done; tail -n 3 /var/lib/kvm/vm-off/history.jsonl`,
		`"kind":"end".*"state":"crashed"`)
	m.check("the oneshot did it", "for i in $(seq 60); do journalctl -b -u kvm-ended@vm-off.service | grep -q Finished && break; sleep 1; done; journalctl -b -o cat -u kvm-ended@vm-off.service", "vm-off is crashed")
	m.check("its hooks ran, once", "cat /var/log/hooks", "^on_crash of vm-off\npost_stop of vm-off\n$")
	m.check("its run directory is gone", "ls -A /run/kvm", "(?m)^vm-n$")
	m.check("and its scope", "systemctl show -p LoadState kvm-vm-off.scope", "not-found")
}

func noManager(m *machine) {
	m.check("systemd out of reach: the start is refused", "mv /run/systemd/private /run/systemd/hidden; kvmctl start vm-off 2>&1; echo exit $?; mv /run/systemd/hidden /run/systemd/private",
		`(?s)cannot start vm-off: put it into kvm-vm-off.scope: .*hint: .*--no-scope vm-off\nexit 1`)
	m.check("and only vm-n's QEMU runs", "pgrep -c qemu-system", "^1\n$")
}

func unitFiles(m *machine) {
	m.check("systemd-analyze verify is silent", "systemd-analyze verify --man=no /usr/local/lib/systemd/system/kvm.service /usr/local/lib/systemd/system/kvm.slice /usr/local/lib/systemd/system/kvm-ended@.service 2>&1", "^$")
	m.check("start order: nothing was left out for a cycle", "journalctl -b _PID=1 -o cat | grep -ci 'ordering cycle' || true", "^0\n$")
}

// colours are what systemd paints its words on the console with.
var colours = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

func shutdown(m *machine, disk string) {
	m.check("the nested guest is up before the shutdown", "kvmctl wait vm-n --for 'console:guest ready' --timeout 6m 2>&1", "said so on its console")
	began := time.Now()
	if err := m.g.PowerOff(m.ctx); err != nil {
		m.t.Fatal(err)
	}
	m.saw(true, "the host powered off", time.Since(began).Round(time.Second).String())
	console, err := m.g.Console()
	if err != nil {
		m.t.Fatal(err)
	}
	console = colours.ReplaceAllString(console, "")
	stopped, down := strings.LastIndex(console, "Stopped kvm.service"), strings.LastIndex(console, "reboot: Power down")
	m.saw(stopped >= 0 && stopped < down, "host's console: kvm.service stopped, then power down", fmt.Sprintf("at byte %d, then %d", stopped, down))
	read := func(path string) string {
		out, err := exec.CommandContext(m.ctx, "debugfs", "-R", "cat "+path, disk).Output()
		if err != nil {
			m.t.Fatalf("read %s off the disk: %v", path, err)
		}
		return string(out)
	}
	lines := strings.Split(strings.TrimSpace(read("/var/lib/kvm/vm-n/console.log")), "\n")
	m.saw(strings.Contains(lines[len(lines)-1], "reboot: Power down"), "nested console, on the host's disk: its own last line", lines[len(lines)-1])
	history := strings.Split(strings.TrimSpace(read("/var/lib/kvm/vm-n/history.jsonl")), "\n")
	var end string
	for _, l := range history {
		if strings.Contains(l, `"kind":"end"`) {
			end = l
		}
	}
	m.saw(strings.Contains(end, "guest shut down, asked by kvmctl stop"), "its history: why it ended", end)
	m.saw(strings.Contains(read("/var/log/hooks"), "post_stop of vm-n"), "its post_stop hook ran", read("/var/log/hooks"))
}
