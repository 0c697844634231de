package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"kvmctl/vm/qmp"
)

// Seen is a property that is not the same on two machine versions.
type Seen struct {
	Device   string // QEMU's driver, or "cpu"
	Property string
	Old, New string
}

// describeTime bounds one QEMU that is started to be asked and ended again.
const describeTime = 20 * time.Second

// compareMachines starts QEMU once on each machine version with the guest's kinds of devices, without images or networks, and
// compares what each says of them. Neither runs an instruction.
func compareMachines(ctx context.Context, qemu, old, new string, spec *Spec) ([]Seen, error) {
	before, err := describeMachine(ctx, qemu, old, spec)
	if err != nil {
		return nil, fmt.Errorf("ask QEMU about %s: %w", old, err)
	}
	after, err := describeMachine(ctx, qemu, new, spec)
	if err != nil {
		return nil, fmt.Errorf("ask QEMU about %s: %w", new, err)
	}
	return differences(before, after), nil
}

// property names one of a device.
type property struct{ device, name string }

// differences lists what differs, sorted.
func differences(before, after map[property]string) []Seen {
	var all []Seen
	for p, was := range before {
		if is, ok := after[p]; !ok || is != was {
			all = append(all, Seen{p.device, p.name, was, is})
		}
	}
	for p, is := range after {
		if _, ok := before[p]; !ok {
			all = append(all, Seen{p.device, p.name, "", is})
		}
	}
	slices.SortFunc(all, func(a, b Seen) int {
		if c := strings.Compare(a.Device, b.Device); c != 0 {
			return c
		}
		return strings.Compare(a.Property, b.Property)
	})
	return all
}

// describeMachine starts a QEMU, asks and ends it.
func describeMachine(ctx context.Context, qemu, machine string, spec *Spec) (_ map[property]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, describeTime)
	defer cancel()
	argv := []string{"-nodefaults", "-no-user-config", "-S", "-display", "none", "-sandbox", Sandbox,
		"-machine", escape(machine) + ",accel=tcg", "-cpu", "max", "-qmp", "stdio", "-object", "rng-builtin,id=rng0",
		"-blockdev", "driver=null-co,node-name=null0,read-zeroes=on"}
	kinds := drivers(spec)
	for i, d := range kinds {
		o := newOpt(d).set("id", fmt.Sprintf("d%d", i))
		switch d {
		case "virtio-rng-pci":
			o.set("rng", "rng0")
		case "virtio-blk-pci":
			o.set("drive", "null0")
		}
		argv = append(argv, "-device", o.String())
	}
	cmd := exec.CommandContext(ctx, qemu, argv...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: nobody()}
	cmd.WaitDelay = time.Second
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		cancel() // kills it: it has nothing to lose
		_ = cmd.Wait()
		if line := firstLine(said.String()); err != nil && line != "" {
			err = fmt.Errorf("%w: %.200s", err, line)
		}
	}()
	c, err := qmp.NewClient(ctx, &pipes{in, out})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all := map[property]string{}
	for i, d := range kinds {
		if err := describe(ctx, c, fmt.Sprintf("%sd%d", peripheral, i), d, all); err != nil {
			return nil, err
		}
	}
	return all, describe(ctx, c, "/machine/unattached/device[0]", "cpu", all)
}

// nobody is whom such a QEMU runs as when root asks: it needs nothing of the host.
func nobody() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}

// describe reads what an object says of itself that is a plain value and its own: no links, no addresses, nothing that counts time.
func describe(ctx context.Context, c *qmp.Client, path, device string, all map[property]string) error {
	var props []qomChild
	if err := c.Execute(ctx, "qom-list", map[string]any{"path": path}, &props); err != nil {
		return err
	}
	for _, p := range props {
		plain := p.Type == "bool" || p.Type == "str" || p.Type == "string" || p.Type == "OnOffAuto" || strings.HasPrefix(p.Type, "int") || strings.HasPrefix(p.Type, "uint")
		if !plain {
			continue
		}
		var v any
		err := c.Execute(ctx, "qom-get", map[string]any{"path": path, "property": p.Name}, &v)
		if refused := new(qmp.Error); errors.As(err, &refused) {
			continue // it cannot be read: so the guest cannot see it either
		}
		if err != nil {
			return err
		}
		all[property{device, p.Name}] = fmt.Sprint(v)
	}
	return nil
}

// pipes are a child's stdin and stdout as one connection.
type pipes struct {
	io.WriteCloser
	out io.ReadCloser
}

func (p *pipes) Read(b []byte) (int, error) { return p.out.Read(b) }

func (p *pipes) Close() error { return errors.Join(p.WriteCloser.Close(), p.out.Close()) }
