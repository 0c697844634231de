package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kvmctl/internal/runner"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/wire"
)

// machine is one of the four, as kvmctl has it.
type machine struct {
	place
	w *world

	power sync.Mutex // held while it is switched on or off: one after the other

	mu   sync.Mutex
	port *drbdlab.Port // nil: it is off

	followed *drbdlab.Port // by which the agent's log is followed; of who starts the agent
}

var errOff = errors.New("it is off")

// kvmctl runs the real one.
func (w *world) kvmctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.bin.kvmctl, append([]string{"--root", w.dir}, args...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &said, time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kvmctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return out.String(), nil
}

// boot starts the machine, and waits until programs can be run in it.
func (m *machine) boot(ctx context.Context) error {
	m.power.Lock()
	defer m.power.Unlock()
	if m.on() {
		return nil
	}
	if _, err := m.w.kvmctl(ctx, "start", m.name); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	port, err := drbdlab.Connect(within, "tcp", m.hands+":5000")
	if err != nil {
		return fmt.Errorf("boot %s: %w", m.name, err)
	}
	m.mu.Lock()
	m.port = port
	m.mu.Unlock()
	m.w.note(m.name, "", "on")
	if _, err := m.sh(ctx, "/lab/boot"); err != nil {
		return err
	}
	return m.compareClocks(ctx)
}

// compareClocks learns what the machine's clock is behind ours.
func (m *machine) compareClocks(ctx context.Context) error {
	out, err := m.sh(ctx, "adjtimex | sed -n 's/.*time.tv_.*: *//p'")
	if err != nil {
		return err
	}
	var sec, usec int64
	if _, err := fmt.Sscan(out, &sec, &usec); err != nil {
		return fmt.Errorf("read the clock of %s: %w: %q", m.name, err, out)
	}
	m.w.journal.mu.Lock()
	defer m.w.journal.mu.Unlock()
	m.w.journal.offsets[m.name] = time.Until(time.Unix(sec, usec*1000)) * -1
	return nil
}

// on tells whether it is on as far as this program knows.
func (m *machine) on() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.port != nil
}

// cut ends the machine as a power cut does: its disks have what was flushed.
func (m *machine) cut(ctx context.Context) error {
	m.power.Lock()
	defer m.power.Unlock()
	m.gone()
	_, err := m.w.kvmctl(ctx, "stop", m.name, "--force")
	return err
}

// gone is told when the machine has no power any more, or is about to have none.
func (m *machine) gone() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.port != nil {
		m.w.note(m.name, "", "off")
		m.port.Close()
		m.port = nil
	}
}

func (m *machine) inside() (*drbdlab.Port, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.port == nil {
		return nil, fmt.Errorf("%s: %w", m.name, errOff)
	}
	return m.port, nil
}

// run runs a program in the machine; its output goes to stdout as it comes, and in the result.
func (m *machine) run(ctx context.Context, stdout io.Writer, stdin []byte, argv ...string) (runner.Result, error) {
	p, err := m.inside()
	if err != nil {
		return runner.Result{}, err
	}
	return p.Exec(ctx, wire.Command{Argv: argv, Stdin: stdin}, stdout)
}

// sh runs a shell script in the machine and gives its output; a status that is not 0 is an error.
func (m *machine) sh(ctx context.Context, script string) (string, error) {
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := m.run(within, nil, nil, "sh", "-ec", script)
	if err == nil && (r.Exit != 0 || r.Signal != 0) {
		err = fmt.Errorf("%s: %s: exit %d: %s", m.name, script, r.Exit, bytes.TrimSpace(append(r.Stdout, r.Stderr...)))
	}
	return string(r.Stdout), err
}

// put writes files in the machine, for root alone.
func (m *machine) put(ctx context.Context, files map[string][]byte) error {
	for path, data := range files {
		r, err := m.run(ctx, nil, data, "sh", "-ec", fmt.Sprintf("mkdir -p %s; umask 077; cat >%s", filepath.Dir(path), path))
		if err == nil && r.Exit != 0 {
			err = fmt.Errorf("write %s in %s: %s", path, m.name, r.Stderr)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// until runs a script until it succeeds, within some time.
func (m *machine) until(ctx context.Context, within time.Duration, script string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		_, err := m.sh(ctx, script)
		if err == nil {
			return nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("wait for %s on %s: %w", script, m.name, err)
		}
	}
}

// pause waits, or gives why not.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// link plugs the cable of a NIC in or out at the machine: it sees its carrier go, and nobody else does.
func (m *machine) link(ctx context.Context, nic int, up bool) error {
	_, err := m.w.kvmctl(ctx, "monitor", m.name, "-c", fmt.Sprintf("set_link nic%d %s", nic, map[bool]string{true: "on", false: "off"}[up]))
	return err
}

// running asks kvmctl whether the machine's QEMU lives.
func (m *machine) running(ctx context.Context) (bool, error) {
	out, err := m.w.kvmctl(ctx, "status", m.name, "--json")
	if err != nil {
		return false, err
	}
	var all []struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		return false, fmt.Errorf("status of %s: %w: %s", m.name, err, out)
	}
	return all[0].State != "stopped" && all[0].State != "crashed", nil
}
