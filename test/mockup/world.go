package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// world is the whole site.
type world struct {
	all      context.Context // of the whole run: what a row begins and does not end
	o        options
	dir      string
	bin      struct{ kvmctl, kvmha string }
	drbdConf []byte
	machines map[string]*machine
	journal
	power   power
	relay   relay
	client  *client
	readers sync.WaitGroup
	judge   *exec.Cmd // the arbiter, while it runs
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// newWorld makes the bridges, the relay, the PDU, and machines that are off.
func newWorld(ctx context.Context, o options) (*world, error) {
	w := &world{all: ctx, o: o, dir: o.inside, machines: map[string]*machine{}, client: &client{}}
	w.journal = journal{last: map[string]time.Time{}, offsets: map[string]time.Duration{}, roles: map[string]string{}}
	w.power.w = w
	var err error
	if w.bin.kvmctl, err = absolute(o.bin, "kvmctl"); err != nil {
		return nil, err
	}
	if w.bin.kvmha, err = absolute(o.bin, "kvmha"); err != nil {
		return nil, err
	}
	if err := writeSite(ctx, w.dir); err != nil {
		return nil, err
	}
	if _, err := w.kvmctl(ctx, "net", "apply"); err != nil {
		return nil, err
	}
	for _, p := range places {
		w.machines[p.name] = &machine{place: p, w: w}
		if err := blank(w.dir, p.name); err != nil {
			return nil, err
		}
	}
	template := exec.CommandContext(ctx, w.bin.kvmha, "drbd", "template", resource, "--on", varda2.name+"="+varda2.link, "--on", vmVarda.name+"="+vmVarda.link,
		"--device", "/dev/drbd0", "--disk", "/dev/mapper/srv")
	text, err := template.Output()
	if err != nil {
		return nil, fmt.Errorf("kvmha drbd template: %w", err)
	}
	w.drbdConf = append([]byte("global { usage-count no; }\n"), text...)
	if err := w.relay.serve(ctx, w); err != nil {
		return nil, err
	}
	return w, w.power.serve(ctx)
}

// both does something to some machines at once.
func both(f func(*machine) error, machines ...*machine) error {
	errs := make([]error, len(machines))
	var all sync.WaitGroup
	for i, m := range machines {
		all.Go(func() { errs[i] = f(m) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// arbitrate starts the arbiter, elrond, in this namespace, with an empty record of varda.
func (w *world) arbitrate(ctx context.Context) error {
	root := w.path(judge)
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	files, err := keys(w.path("keys"), judge, varda2.name, vmVarda.name)
	if err != nil {
		return err
	}
	files["/etc/kvmha.toml"] = fmt.Appendf(nil, `node = %q
[peer.%s]
addresses = [%q]
[peer.%s]
addresses = [%q]
[channel]
listen = ["%s:4694"]
[arbiter.group.varda]
members = [%q, %q]
`, judge, varda2.name, varda2.lan, vmVarda.name, vmVarda.lan, hostLAN, varda2.name, vmVarda.name)
	for path, data := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, w.bin.kvmha, "--root", root, "arbiter", "create", "varda").CombinedOutput(); err != nil {
		return fmt.Errorf("kvmha arbiter create: %w: %s", err, out)
	}
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	w.judge = exec.CommandContext(ctx, w.bin.kvmha, "--root", root, "run")
	w.judge.Stdout, w.judge.Stderr = log, log
	return w.judge.Start()
}

// dismiss ends the arbiter, if there is one.
func (w *world) dismiss() {
	if w.judge != nil {
		_ = w.judge.Process.Signal(unix.SIGTERM) // or it has ended already
		_ = w.judge.Wait()
		w.judge = nil
	}
}

// trouble says all that is known of the machines of a pair.
func (w *world) trouble(ctx context.Context, machines ...*machine) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	var b strings.Builder
	for _, m := range machines {
		text, err := m.sh(ctx, "kvmha status || true; cat /proc/drbd; dmesg | tail -15; tail -60 /var/log/kvmha.log")
		fmt.Fprintf(&b, "--- %s: %v\n%s\n", m.name, err, text)
	}
	if text, err := os.ReadFile(w.path(judge + "/log")); err == nil {
		fmt.Fprintf(&b, "--- %s\n%s\n", judge, text)
	}
	return b.String()
}
