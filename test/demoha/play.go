package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

const (
	vip       = "10.77.0.240"
	service   = "127.0.0.1:8080"
	mailRelay = "127.0.0.1:2525"
)

const kvmhaToml = `node = "varda1"

[mail]
relay = "` + mailRelay + `"
tls = "none"
from = "kvmha@varda1.example.org"
to = ["admin@example.org"]

[group.web]
interface = "eth0"
vhid = 1
addresses = ["` + vip + `"]
password = "tpri"
peer = "ucarp"
preempt = true
preempt_delay = "1s"

[[group.web.unit]]
type = "command"
name = "web"
start = ["DIR/web", "start"]
stop = ["DIR/web", "stop"]
status = ["DIR/web", "status"]

[[group.web.check]]
type = "tcp"
target = "` + service + `"
expect = "220"
interval = "500ms"
fall = 2
`

// webScript is the unit: a service that listens on loopback. It cannot start while the file "broken" is there.
const webScript = `#!/bin/sh
pid=$(cat DIR/web.pid 2>/dev/null)
case $1 in
start)
	[ ! -e DIR/broken ] || { echo "no certificate" >&2; exit 1; }
	setsid EXE serve ` + service + ` >DIR/web.log 2>&1 </dev/null &
	echo $! >DIR/web.pid ;;
stop)
	[ -z "$pid" ] || kill "$pid" 2>/dev/null
	rm -f DIR/web.pid ;;
status)
	[ -n "$pid" ] && [ -e "/proc/$pid/exe" ] || exit 3 ;; # a zombie has none
esac
`

const upScript = "#!/bin/sh\nexec ip addr add " + vip + "/32 dev \"$1\"\n"
const downScript = "#!/bin/sh\nexec ip addr del " + vip + "/32 dev \"$1\"\n"

// prepare makes the two nodes and the files.
func (d *demo) prepare() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	script := strings.ReplaceAll(d.full(webScript), "EXE", exe)
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{{"etc/kvmha.toml", d.full(kvmhaToml), 0o600}, {"web", script, 0o755}, {"up", upScript, 0o755}, {"down", downScript, 0o755},
		{"password", "tpri\n", 0o600}} {
		path := filepath.Join(d.dir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	if d.lab, err = hatest.New(filepath.Join(d.dir, "lab"), "varda1", "varda2"); err != nil {
		return err
	}
	d.varda1, d.varda2 = d.lab.Node("varda1"), d.lab.Node("varda2")
	if d.relay, err = newRelay(d.varda1, mailRelay); err != nil {
		return err
	}
	v4, _ := hatest.Shared(0)
	d.probe, err = d.lab.Probe(v4)
	return err
}

// play is the session. It is the one that the README shows.
func (d *demo) play(ctx context.Context) error {
	say("two machines, one address; files in %s, here DIR, and the root of kvmha's", d.dir)
	if err := d.prepare(); err != nil {
		return err
	}
	if err := d.sh(ctx, d.varda1, "cat DIR/etc/kvmha.toml"); err != nil {
		return err
	}
	say("kvmha on one, which is preferred, a ucarp on the other")
	agent, err := d.start(d.varda1, "kvmha run")
	if err != nil {
		return err
	}
	if _, err := d.start(d.varda2, "ucarp -i eth0 -s 10.77.0.2 -v 1 -o DIR/password -a "+vip+" -k 100 -P -z -u DIR/up -d DIR/down"); err != nil {
		return err
	}
	if err := d.answers(ctx, d.varda1, time.Now()); err != nil {
		return fmt.Errorf("%w\n%s", err, agent.Output())
	}
	if err := d.sh(ctx, d.varda1, "kvmha status"); err != nil {
		return err
	}
	say("the service is killed: it is started again where it is")
	old, killed := d.pid(), time.Now()
	if err := d.sh(ctx, d.varda1, "kill -9 $(cat DIR/web.pid)"); err != nil {
		return err
	}
	if err := d.until(ctx, "DIR/web status", func() bool { return d.pid() != old }); err != nil {
		return err
	}
	fmt.Printf("  after %.1f s it runs again\n", time.Since(killed).Seconds())
	if err := d.until(ctx, "! kvmha status | grep -q alarm", func() bool { return true }); err != nil { // its check has to be green twice
		return err
	}
	if err := d.sh(ctx, d.varda1, "kvmha status"); err != nil {
		return err
	}
	say("now it is killed and cannot start: the address moves, and a mail is sent")
	if err := d.sh(ctx, d.varda1, "touch DIR/broken; kill -9 $(cat DIR/web.pid)"); err != nil {
		return err
	}
	if err := d.answers(ctx, d.varda2, time.Now()); err != nil {
		return fmt.Errorf("%w\n%s", err, agent.Output())
	}
	if err := d.relay.next(ctx, "given away"); err != nil {
		return err
	}
	if err := d.sh(ctx, d.varda1, "kvmha status"); err != nil {
		return err
	}
	say("it is mended: the address moves back")
	if err := d.sh(ctx, d.varda1, "rm DIR/broken"); err != nil {
		return err
	}
	if err := d.answers(ctx, d.varda1, time.Now()); err != nil {
		return fmt.Errorf("%w\n%s", err, agent.Output())
	}
	for _, line := range []string{"kvmha status", "kvmha log web"} {
		if err := d.sh(ctx, d.varda1, line); err != nil {
			return err
		}
	}
	say("clean up: kvmha hands over and stops its service")
	d.show(d.varda1, "kill -TERM $(pidof kvmha)")
	stopped := time.Now()
	if err := agent.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if err := d.answers(ctx, d.varda2, stopped); err != nil {
		return err
	}
	if err := agent.Wait(ctx); err != nil {
		return fmt.Errorf("kvmha's end: %w\n%s", err, agent.Output())
	}
	return nil
}

// answers waits until a node answers on the shared address, and tells for how long nobody did.
func (d *demo) answers(ctx context.Context, n *hatest.Node, event time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	took, err := d.probe.From(ctx, n.Name, event)
	if err != nil {
		return err
	}
	first := ""
	if all := d.probe.Answers(); all[0].At.Before(event) {
		first = fmt.Sprintf("; nobody did for %.3f s", all.Outage(event, event.Add(took)).Seconds())
	}
	fmt.Printf("  after %.1f s %s answers on %s%s\n", took.Seconds(), n.Name, vip, first)
	return nil
}

// pid is that of the service, as its script wrote it down.
func (d *demo) pid() string {
	text, _ := os.ReadFile(filepath.Join(d.dir, "web.pid")) // none: it is stopped
	return string(text)
}

// until waits for a fact, and asks a command then until it succeeds.
func (d *demo) until(ctx context.Context, line string, fact func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := hatest.Until(ctx, func() bool { return fact() && d.varda1.Command(ctx, "/bin/sh", "-c", d.full(line)).Run() == nil }); err != nil {
		return fmt.Errorf("wait for %s: %w", line, err)
	}
	return nil
}
