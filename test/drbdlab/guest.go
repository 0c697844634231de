package drbdlab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"kvmctl/internal/runner"
	"kvmctl/test/drbdlab/wire"
	"kvmctl/test/guest"
	"kvmctl/vm/qmp"
)

// Guest is one machine of a lab: its disk outlives it.
type Guest struct {
	Name string
	dir  string
	argv []string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	port   *Port
}

// stateSize is that of /dev/vdb, which keeps what an agent must not forget, in bytes.
const stateSize = 16 << 20

// Disk is the raw image of /dev/vda.
func (g *Guest) Disk() string { return filepath.Join(g.dir, g.Name+".disk") }

// Console is what the guest has written to its serial port.
func (g *Guest) Console() string {
	b, err := os.ReadFile(filepath.Join(g.dir, g.Name+".console"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// path is a file of the guest's run.
func (g *Guest) path(what string) string { return filepath.Join(g.dir, g.Name+"."+what) }

// newGuest says how a guest is run; nets are its NICs' -netdev, without an id.
func newGuest(dir, name, initrd string, images guest.Images, o Options, nets []string, mac byte) (*Guest, error) {
	g := &Guest{Name: name, dir: dir}
	for path, size := range map[string]int64{g.Disk(): DiskSize, g.path("state"): stateSize} {
		disk, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			err = errors.Join(disk.Truncate(size), disk.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("make a disk of %s: %w", name, err)
		}
	}
	words := guest.Cmdline + " host=" + name
	for i := range nets {
		words += fmt.Sprintf(" ip%s=10.%d.0.%d/24", map[bool]string{true: fmt.Sprint(i)}[i > 0], 90+i, mac)
	}
	words += fmt.Sprintf(" ip%d=10.92.0.15/24", len(nets)) // to the machine that runs the test
	g.argv = []string{
		"-accel", "tcg,tb-size=128", "-machine", "q35", "-m", strconv.Itoa(cmp.Or(o.Memory, 256)), "-nodefaults", "-display", "none", "-no-reboot", "-name", name,
		"-serial", "file:" + g.path("console"), "-kernel", images.Kernel, "-initrd", initrd, "-append", words + " panic=1",
		"-qmp", "unix:" + g.path("qmp") + ",server=on,wait=off",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=lab,server=on,wait=off,path=" + g.path("lab"), "-device", "virtserialport,chardev=lab,name=lab",
		"-drive", "if=none,id=d0,format=raw,cache=writeback,file=" + g.Disk(), "-device", "virtio-blk-pci,drive=d0",
		"-drive", "if=none,id=d1,format=raw,cache=writeback,file=" + g.path("state"), "-device", "virtio-blk-pci,drive=d1",
	}
	if o.Image != "" {
		g.argv = append(g.argv, "-drive", "if=none,id=d2,format=raw,snapshot=on,file="+o.Image, "-device", "virtio-blk-pci,drive=d2")
	}
	for i, n := range nets {
		g.argv = append(g.argv,
			"-netdev", fmt.Sprintf("%s,id=n%d", n, i),
			"-device", fmt.Sprintf("virtio-net-pci,id=nic%d,netdev=n%d,mac=52:54:00:90:%02x:%02x", i, i, i, mac))
	}
	g.argv = append(g.argv, "-netdev", "user,id=host,net=10.92.0.0/24,host="+Outside, "-device", fmt.Sprintf("virtio-net-pci,netdev=host,mac=52:54:00:90:99:%02x", mac))
	return g, nil
}

// Outside is the address by which a guest reaches the loopback of the machine that runs the test.
const Outside = "10.92.0.2"

// Boot starts the guest, and waits until programs can be run in it.
func (g *Guest) Boot(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd != nil {
		return fmt.Errorf("boot %s: it runs", g.Name)
	}
	for i, arg := range g.argv { // a socket that a killed QEMU has left
		if rest, ok := strings.CutPrefix(arg, "dgram,"); ok && g.argv[i-1] == "-netdev" {
			_, local, _ := strings.Cut(rest, "local.path=")
			local, _, _ = strings.Cut(local, ",")
			_ = os.Remove(local)
		}
	}
	cmd := exec.Command("qemu-system-x86_64", g.argv...)
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("boot %s: %w", g.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended, the test knows
		close(exited)
	}()
	within, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	go func() {
		select {
		case <-exited:
			cancel()
		case <-within.Done():
		}
	}()
	port, err := Connect(within, "unix", g.path("lab"))
	if err != nil {
		_ = cmd.Process.Kill()
		<-exited
		return fmt.Errorf("boot %s: %w: %s\n%s", g.Name, err, stderr, g.Console())
	}
	g.cmd, g.exited, g.port = cmd, exited, port
	return nil
}

// PowerCut ends the guest as a power cut does; its disk has what was flushed and, as QEMU caches nothing itself, what was written.
func (g *Guest) PowerCut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd == nil {
		return
	}
	_ = g.cmd.Process.Kill() // gone already is as good
	<-g.exited
	g.port.Close()
	g.cmd, g.port = nil, nil
}

// On reports whether it has power.
func (g *Guest) On() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cmd != nil
}

var errOff = errors.New("the guest is off")

// Run implements runner.Runner inside the guest.
func (g *Guest) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	p, err := g.inside()
	if err != nil {
		return runner.Result{}, err
	}
	return p.Run(ctx, c)
}

func (g *Guest) inside() (*Port, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.port == nil {
		return nil, fmt.Errorf("%s: %w", g.Name, errOff)
	}
	return g.port, nil
}

// Sh runs a shell script in the guest and gives its output; a status that is not 0 is an error.
func (g *Guest) Sh(ctx context.Context, script string) (string, error) {
	r, err := g.Run(ctx, runner.Command{Argv: []string{"sh", "-ec", script}})
	if err == nil && (r.Exit != 0 || r.Signal != 0) {
		err = fmt.Errorf("%s: %s: exit %d: %s", g.Name, script, r.Exit, bytes.TrimSpace(append(r.Stdout, r.Stderr...)))
	}
	return string(r.Stdout), err
}

// Put writes a file in the guest.
func (g *Guest) Put(ctx context.Context, path string, data []byte, mode os.FileMode) error {
	p, err := g.inside()
	if err != nil {
		return err
	}
	script := fmt.Sprintf("mkdir -p %s && cat >%s && chmod %o %s", filepath.Dir(path), path, mode.Perm(), path)
	r, err := p.Exec(ctx, wire.Command{Argv: []string{"sh", "-ec", script}, Stdin: data}, nil)
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("write %s in %s: %s", path, g.Name, r.Stderr)
	}
	return err
}

// Link plugs the cable of a NIC in or out, at this end.
func (g *Guest) Link(ctx context.Context, nic int, up bool) error {
	return g.qmp(ctx, "set_link", map[string]any{"name": fmt.Sprintf("nic%d", nic), "up": up})
}

// Freeze has the whole guest stand still; Thaw has it go on, without knowing.
func (g *Guest) Freeze(ctx context.Context) error { return g.qmp(ctx, "stop", nil) }

// Thaw ends a Freeze.
func (g *Guest) Thaw(ctx context.Context) error { return g.qmp(ctx, "cont", nil) }

func (g *Guest) qmp(ctx context.Context, command string, args any) error {
	c, err := qmp.Dial(ctx, g.path("qmp"))
	if err != nil {
		return fmt.Errorf("%s: %w", g.Name, err)
	}
	defer c.Close()
	if err := c.Execute(ctx, command, args, nil); err != nil {
		return fmt.Errorf("%s: %w", g.Name, err)
	}
	return nil
}

// Patience is how long the lab waits for one thing.
const Patience = 2 * time.Minute

// Until runs a script in the guest until it succeeds.
func (g *Guest) Until(ctx context.Context, script string) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		_, err := g.Sh(ctx, script)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", script, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
