package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/debguest"
)

// haGroup is what the agent runs: an address, a unit of systemd's, and a service of its own that lives in kvmha.service's control group.
const haGroup = `[group.web]
interface = "ha0"
vhid = 42
addresses = ["10.77.0.10"]
password = "tpri"
peer = "ucarp"
preempt = true
preempt_delay = "0s"
carrier_up_delay = "0s"
restarts = 5
[[group.web.unit]]
name = "web.service"
[[group.web.unit]]
type = "command"
name = "leases"
start = ["/usr/local/lib/leases", "start"]
stop = ["/usr/local/lib/leases", "stop"]
status = ["/usr/local/lib/leases", "status"]
[[group.web.check]]
type = "systemd"
unit = "web.service"
[[group.web.check]]
type = "process"
pidfile = "/run/leases.pid"
`

// haWatched is a group without units of its own that only watches one. Its check is asked so seldom that what it knows in time was told to it.
const haWatched = `[group.web]
interface = "ha0"
vhid = 42
addresses = ["10.77.0.10"]
password = "tpri"
peer = "ucarp"
preempt = true
preempt_delay = "0s"
carrier_up_delay = "0s"
restarts = 0
[[group.web.check]]
type = "systemd"
unit = %q
interval = "30s"
`

// haSecond is a group that a reload adds.
const haSecond = `[group.dns]
interface = "ha0"
vhid = 43
addresses = ["10.77.0.20"]
password = "tpri"
carrier_up_delay = "0s"
`

const webService = `[Service]
ExecStart=/bin/sleep 1000000
[Install]
WantedBy=multi-user.target
`

// bareService has no process that systemd takes for its main one.
const bareService = `[Service]
Type=forking
GuessMainPID=no
ExecStart=/bin/sh -c '/bin/sleep 1000000 &'
`

// leases does what the start script of a service may: it mounts, makes a directory that belongs to a group, and leaves a daemon behind.
const leases = `#!/bin/sh
alive() { kill -0 "$(cat /run/leases.pid)" 2>/dev/null; }
case $1 in
start)
	alive && exit
	set -e
	install -d -m 2775 /run/leases
	mountpoint -q /srv || mount -t tmpfs leases /srv
	echo state >/srv/state
	setsid sleep 1000000 >/dev/null 2>&1 </dev/null &
	echo $! >/run/leases.pid
	;;
stop)
	! alive || kill "$(cat /run/leases.pid)"
	rm -f /run/leases.pid
	! mountpoint -q /srv || umount /srv
	;;
status) alive || exit 3 ;;
esac
`

// haNetwork makes a card with a node behind it, in a namespace.
const haNetwork = `ip netns add peer && ip link add ha0 type veth peer name eth0 netns peer && ip addr add 10.77.0.2/24 dev ha0 && ip link set ha0 up &&
ip -n peer addr add 10.77.0.3/24 dev eth0 && ip -n peer link set eth0 up && ip -n peer link set lo up`

// haLib is what the scripts below share. until_ repeats a command for at most 30 s until it succeeds; then it says after how long.
const haLib = `cd /root
up() { read -r up _ </proc/uptime; echo "${up%.*}"; }
until_() { t=$(up); while ! eval "$1" >/dev/null 2>&1; do [ $(up) -lt $((t + 30)) ] || { echo "never: $1"; return 1; }; sleep 0.1; done; echo "after $(($(up) - t)) s: $1"; }
here() { ip -o -4 addr show dev ha0 | grep -q '10\.77\.0\.10/'; }
there() { ip -n peer -o -4 addr show dev eth0 | grep -q '10\.77\.0\.10/'; }
active() { kvmha status web --json | grep -q '"role": "active"'; }
main() { systemctl show -P MainPID "$1"; }
`

func installHA(ctx context.Context, root string) error {
	if out, err := exec.CommandContext(ctx, "make", "--no-print-directory", "-C", "../..", "install", "DESTDIR="+root).CombinedOutput(); err != nil {
		return fmt.Errorf("make install: %w: %s", err, out)
	}
	if err := debguest.WriteFile(root, "usr/local/lib/leases", leases, 0o755); err != nil {
		return err
	}
	if err := debguest.WriteFile(root, "root/lib", haLib, 0o644); err != nil {
		return err
	}
	if err := debguest.WriteFile(root, "etc/kvmha.toml", haGroup, 0o600); err != nil {
		return err
	}
	if err := debguest.WriteFile(root, "etc/systemd/system/bare.service", bareService, 0o644); err != nil {
		return err
	}
	return debguest.WriteFile(root, "etc/systemd/system/web.service", webService, 0o644)
}

// TestAgentUnderSystemd is kvmha.service in a Debian: units over D-Bus, adoption after a crash, reload, restart in place, the watchdog, a stop,
// all inside the unit's hardening; a real ucarp as the other node; and the init script for hosts without systemd.
func TestAgentUnderSystemd(t *testing.T) {
	testenv.Need(t, testenv.E2E, "mmdebstrap", "mke2fs", "make")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	base, err := debguest.Build(ctx, debguest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "debian.img")
	if err := base.Image(ctx, disk, "3G", func(root string) error { return installHA(ctx, root) }); err != nil {
		t.Fatal(err)
	}
	r := &report{t: t, began: time.Now()}
	defer r.print()
	g, err := base.Boot(ctx, debguest.Options{Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	m := &machine{r, ctx, g}
	m.run(haNetwork)
	r.saw(true, "booted", "")
	haStart(m)
	haCrash(m)
	haReload(m)
	haUpgrade(m)
	haWatchdog(m)
	haPeer(m)
	haDeath(m)
	haClock(m)
	haHardening(m)
	haInit(m)
}

// ha checks a script that has haLib's functions. When it gives something else, the agent's own words are shown, too.
func (m *machine) ha(what, script, want string) {
	m.t.Helper()
	failed := len(m.failures)
	m.check(what, ". /root/lib; exec 2>&1; "+script+"\ntrue", want)
	if len(m.failures) > failed {
		out, err := m.g.Run(m.ctx, "exec 2>&1; kvmha status; kvmha log | tail -n 5; journalctl -b -u kvmha -o short-monotonic --no-pager | tail -n 25")
		m.t.Logf("%s%v", out, err)
	}
}

func haStart(m *machine) {
	m.ha("a unit that the boot starts, too: kvmha check says so (H3)", "systemctl enable -q web.service; kvmha check; systemctl disable -q web.service", `web\.service is also started at boot \(systemd: enabled\)`)
	m.ha("systemctl start kvmha", "systemctl start kvmha && systemctl is-active kvmha kvmha-tick", "^active\nactive\n$")
	m.ha("it has the address, for a second", "until_ here && ip -o -4 addr show dev ha0 to 10.77.0.10", "valid_lft [01]sec")
	m.ha("its units run, over D-Bus and by a command", "until_ active; systemctl is-active web.service; /usr/local/lib/leases status && cat /proc/$(cat /run/leases.pid)/cgroup",
		"(?s)after.*\nactive\n.*/kvmha.service\n$")
	m.ha("what a start script mounts is there for everyone", "cat /srv/state", "^state\n$")
	m.ha("status", "kvmha status", `(?m)^web +active .*10\.77\.0\.10`)
	m.ha("log", "kvmha log", `web.*→ active|web.*-> active|web.*active`)
	m.ha("systemd has its line of status", "systemctl show -P StatusText kvmha", `\w`)
	m.ha("the unit is killed: it is restarted here", "a=$(main web); systemctl kill -s KILL web.service; until_ '[ $(main web) != 0 ] && [ $(main web) != '$a' ]' && here && active && echo here", "here\n$")
}

func haCrash(m *machine) {
	m.ha("SIGKILL: systemd starts it again, it adopts what runs, and has the address again", `until_ active; w=$(main web); l=$(cat /run/leases.pid); p=$(main kvmha)
systemctl kill --kill-whom=main -s KILL kvmha; until_ '[ $(main kvmha) != 0 ] && [ $(main kvmha) != '$p' ]' && until_ active && until_ here &&
[ "$w" = "$(main web)" ] && [ "$l" = "$(cat /run/leases.pid)" ] && echo adopted; systemctl show -P NRestarts kvmha`, "adopted\n1\n$")
}

func haReload(m *machine) {
	m.run(fmt.Sprintf("cp /etc/kvmha.toml /root/one.toml; (cat /root/one.toml; echo '%s') >/root/two.toml; (cat /root/one.toml; echo 'nonsense = 1') >/root/bad.toml; chmod 600 /root/*.toml", haSecond))
	m.ha("reload of a good file: a group more, the other one as it was", `w=$(main web); p=$(main kvmha); cp /root/two.toml /etc/kvmha.toml; systemctl reload kvmha; echo $?
until_ 'kvmha status dns | grep -q 10.77.0.20'; here && [ "$w" = "$(main web)" ] && [ "$p" = "$(main kvmha)" ] && echo kept; systemctl is-active kvmha`, "^0\nafter.*\nkept\nactive\n$")
	m.ha("reload of a bad file is refused, and it goes on", `cp /root/bad.toml /etc/kvmha.toml; systemctl reload kvmha; echo $?; here && active && echo kept; systemctl is-active kvmha
kvmha status | grep degraded; cp /root/one.toml /etc/kvmha.toml; systemctl reload kvmha; echo $?; kvmha status | grep -c -e degraded -e dns`, `(?s)\n?1\nkept\nactive\ndegraded: configuration.*nonsense.*\n0\n`)
}

func haUpgrade(m *machine) {
	m.run("cp /usr/local/bin/kvmha /root/next && echo >>/root/next && mv /root/next /usr/local/bin/kvmha")
	m.ha("the program replaced: needrestart leaves it alone", "needrestart -b -r l -l | grep -ci kvmha || true", "^0\n$")
	m.ha("kvmha restart: the same process with the new program; address and units stay", `until_ active >/dev/null; p=$(main kvmha); w=$(main web); ip -o monitor addr >/root/monitor & q=$!
kvmha restart; echo $?; until_ 'kvmha status --json | grep -q "restarts_in_place\": 1"'; sleep 1; kill $q; grep -c 'Deleted.*10\.77\.0\.10' /root/monitor
ls -l /proc/$p/exe | grep -c deleted; here && active && [ "$p" = "$(main kvmha)" ] && [ "$w" = "$(main web)" ] && echo kept; systemctl is-active kvmha`, "^0\nafter.*\n0\n0\nkept\nactive\n$")
	m.ha("systemctl restart: it comes back", `p=$(main kvmha); systemctl restart kvmha; echo $?; until_ active && until_ here && [ "$p" != "$(main kvmha)" ] && systemctl is-active web`, "^0\n(?s).*active\n$")
}

func haWatchdog(m *machine) {
	m.ha("SIGSTOP: its address is gone", `n=$(systemctl show -P NRestarts kvmha); echo $n >/root/n; main kvmha >/root/p; kill -STOP $(main kvmha); until_ '! here'`, "after [0-9] s")
	m.ha("the watchdog ends it, and it is started again", `until_ '[ $(main kvmha) != 0 ] && [ $(main kvmha) != $(cat /root/p) ]'; until_ 'active && here' && echo $(($(systemctl show -P NRestarts kvmha) - $(cat /root/n)))`, "\n1\n$")
	m.ha("the journal says why, and where it hung", "journalctl -b -u kvmha -o cat | grep -i -e 'watchdog' -e '^goroutine 1 ' | head -n 5", "(?i)watchdog timeout(?s).*goroutine 1 ")
	m.ha("it ends as by a panic: systemd starts it again", `p=$(main kvmha); kill -ABRT $p; until_ '[ $(main kvmha) != 0 ] && [ $(main kvmha) != '$p' ]' && until_ 'active && here'`, "after.*\nafter")
}

func haPeer(m *machine) {
	m.run(`printf '#!/bin/sh\nexec ip addr add 10.77.0.10/32 dev "$1"\n' >/root/up; printf '#!/bin/sh\nexec ip addr del 10.77.0.10/32 dev "$1"\n' >/root/down; chmod +x /root/up /root/down; echo tpri >/root/pass
ip netns exec peer setsid ucarp -i eth0 -s 10.77.0.3 -v 42 -o /root/pass -a 10.77.0.10 -k 100 -u /root/up -d /root/down -z >/root/ucarp.log 2>&1 </dev/null & sleep 5`)
	m.ha("a ucarp beside it is its backup", "here && ! there && cat /root/ucarp.log", "BACKUP")
	m.ha("systemctl stop: address, units and mount are gone; nothing is left in its control group", `systemctl stop kvmha; echo $?; here || echo gone; systemctl is-active web; mountpoint -q /srv || echo unmounted
/usr/local/lib/leases status 2>/dev/null; echo $?; ls /sys/fs/cgroup/system.slice/kvmha.service 2>&1 | grep -c procs; systemctl show -P Result kvmha`, "^0\ngone\ninactive\nunmounted\n3\n0\nsuccess\n$")
	m.ha("the ucarp has taken over", "until_ there", "after [0-9] s")
	m.ha("it returns: the ucarp yields, the units run again", "systemctl start kvmha; until_ 'active && here && ! there' && systemctl is-active web", "after(?s).*\nactive\n$")
}

// haDeath is a unit that ends while its check is not due for half a minute: PID 1 tells it over D-Bus. The agent's record says when it let go. Of the
// second unit no main process is known, so nobody but PID 1 can tell it.
func haDeath(m *machine) {
	for _, u := range []struct{ unit, pid, reason string }{
		{"web.service", "main web.service", "is failed"},
		{"bare.service", "cat /sys/fs/cgroup/system.slice/bare.service/cgroup.procs", "is inactive"},
	} {
		m.run(fmt.Sprintf("cat >/root/watched.toml <<'EOF'\n%sEOF\nchmod 600 /root/watched.toml; cp -p /root/watched.toml /etc/kvmha.toml; systemctl reload kvmha",
			fmt.Sprintf(haWatched, u.unit)))
		m.ha(u.unit+", which is only watched, is killed: systemd tells it, and the group lets go within half a second; the ucarp takes it", fmt.Sprintf(`until_ '[ $(main web) = 0 ] || [ %[1]s != web.service ]'
systemctl start %[1]s; until_ 'active && here && kvmha status web --json | grep -q "%[1]s" && kvmha status web --json | grep -q "state\": *\"green"'
p=$(%[2]s); killed=$(date +%%s%%N); [ "$p" -gt 1 ] && kill -9 "$p"; until_ there; here || echo gone
s=$(kvmha log web --json | grep -o '"time": *"[^"]*"' | cut -d'"' -f4 | while read -r x; do d=$(( ($(date -d "$x" +%%s%%N) - killed) / 1000000 )); [ $d -lt 0 ] || echo $d; done | sort -n | head -n 1)
echo "let go after $s ms"; [ "$s" -lt 500 ] && echo at once; kvmha log web | grep '%[1]s %[3]s' | tail -n 1`, u.unit, u.pid, u.reason),
			"(?s)gone\nlet go after [0-9]+ ms\nat once\n.*"+u.unit+" "+u.reason)
		m.ha("it is started by hand: the group returns", "systemctl start "+u.unit+"; until_ 'active && here && ! there'", "after [0-9]+ s")
	}
	m.run("cp -p /root/one.toml /etc/kvmha.toml; systemctl reload kvmha; systemctl stop bare.service")
	m.ha("with its own units again", "until_ 'active && here && ! there' && systemctl is-active web", "after(?s).*\nactive\n$")
}

// haClock is case 4: the wall clock of a whole machine jumps, which no namespace can show.
func haClock(m *machine) {
	m.ha("the wall clock jumps by an hour, on and back: nothing moves", "n=$(kvmha log | wc -l); for by in '+1 hour' '-2 hours' '+1 hour'; do date -s \"$by\" >/dev/null; sleep 6; "+
		"active && here && ! there || echo \"moved after $by\"; done; echo $(($(kvmha log | wc -l) - n))", "^0\n$")
}

func haHardening(m *machine) {
	m.ha("nothing was denied in all this", "journalctl -b -u kvmha -u kvmha-tick -o cat | grep -i -e denied -e 'not permitted' -e 'read-only' -e 'status=228' || journalctl -b -k -o cat | grep 'audit.*SECCOMP' || echo none", "^none\n$")
	m.ha("its clock of lifetimes ran all the time", "systemctl show -P NRestarts kvmha-tick; systemctl is-active kvmha-tick", "^0\nactive\n$")
	m.ha("systemd-analyze verify is silent", "systemd-analyze verify --man=no /usr/local/lib/systemd/system/kvmha.service /usr/local/lib/systemd/system/kvmha-tick.service", "^$")
	m.ha("systemd-analyze security", "systemd-analyze security --no-pager kvmha kvmha-tick | grep -i overall; for u in kvmha kvmha-tick; do systemd-analyze security --no-pager $u | tail -n 1; done", "Overall")
}

func haInit(m *machine) {
	m.run("systemctl stop kvmha kvmha-tick; pkill ucarp; sleep 1; ip -n peer addr flush to 10.77.0.10")
	const script = "/etc/init.d/kvmha"
	m.ha("init script: not running", script+" status; echo $?", "\n3\n$")
	m.ha("init script: start", script+" start; echo $?; until_ active && until_ here; "+script+" start", "^0\n(?s).*after.*runs already\n$")
	m.ha("init script: status", script+" status; echo $?", "(?s)web +active.*\n0\n$")
	m.ha("init script: reload", script+" reload; echo $?", "^0\n$")
	m.ha("init script: the agent is killed, its loop starts it again", `kill -9 $(pgrep -xf 'kvmha run'); sleep 1; until_ active && until_ here`, "after.*\nafter")
	m.ha("init script: the loop is killed: status says so, stop finds the agent",
		`kill -9 $(cat /run/kvmha/agent.pid); `+script+" status; echo $?; "+script+" stop; echo $?; pgrep -axf 'kvmha (run|tick)'; here || echo gone; systemctl is-active web", "(?s)without.*\n0\n0\ngone\ninactive\n$")
	m.ha("init script: stop ended the clock of lifetimes, too", "pgrep -axf 'kvmha (run|tick)'; "+script+" stop; echo $?", "^0\n$")
	m.ha("init script: the loop is killed: start puts another one behind the agent", script+` start; until_ active; p=$(pgrep -xf 'kvmha run'); kill -9 $(cat /run/kvmha/agent.pid); `+script+` start; echo $?; [ "$p" = "$(pgrep -xf 'kvmha run')" ] && echo kept
kill -9 $p; until_ "pgrep -xf 'kvmha run'" && `+script+" stop; echo $?; pgrep -axf 'kvmha (run|tick)'", "(?s)\n0\nkept\nafter.*\n0\n$")
}
