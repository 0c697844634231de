package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/configs"
	"kvmctl/internal/units"
	"kvmctl/test/guest"
	"kvmctl/vm"
)

const (
	bridge = "kvbench0"
	single = "single" // the guest whose start is measured
	prefix = "kvmctl-"
	memMiB = 192
)

// ours is kvmctl's side: a root of its own with guests in it.
type ours struct {
	o      options
	bin    string
	root   string
	images guest.Images // copied below root: libvirt's QEMU has to be able to read them
	host   *vm.Host
}

func newOurs(ctx context.Context, o options, bin string) (*ours, error) {
	images, err := guest.Build(ctx, guest.DefaultDir())
	if err != nil {
		return nil, err
	}
	u := &ours{o: o, bin: bin, root: o.root, images: images}
	for _, path := range []*string{&u.images.Kernel, &u.images.Initrd} {
		data, err := os.ReadFile(*path)
		if err != nil {
			return nil, err
		}
		*path = filepath.Join(o.root, filepath.Base(*path))
		if err := os.WriteFile(*path, data, 0o644); err != nil {
			return nil, err
		}
	}
	toml := filepath.Join(o.root, "etc/kvm/kvm.toml")
	if err := os.MkdirAll(filepath.Dir(toml), 0o755); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("[defaults]\naccel = %q\n\n[[bridge]]\nname = %q\n", o.accel, bridge)
	if err := os.WriteFile(toml, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if err := u.create(ctx, single); err != nil {
		return nil, err
	}
	return u, u.learn(ctx)
}

// create makes a guest as anybody would.
func (u *ours) create(ctx context.Context, name string) error {
	_, err := u.run(ctx, "create", name, "--memory", fmt.Sprintf("%dM", memMiB), "--disk", "1G", "--kernel", u.images.Kernel,
		"--initrd", u.images.Initrd, "--append", guest.Cmdline)
	return err
}

// learn reads the host as kvmctl would, so that the floor gets the argv that kvmctl executes.
func (u *ours) learn(ctx context.Context) error {
	site, err := configs.Load(ctx, u.root)
	if err != nil {
		return err
	}
	if len(site.Problems) > 0 {
		return fmt.Errorf("the bench's own configuration is broken: %v", site.Problems[0])
	}
	u.host = &vm.Host{Layout: vm.Layout{Root: u.root}, UIDBase: site.Host.UIDBase, QEMU: site.Host.QEMU, KVMDevice: "/dev/kvm",
		RecorderSize: site.Host.RecorderSize, ConsoleSize: site.Host.ConsoleSize, HistorySize: units.MiB, By: "bench"}
	return nil
}

func (u *ours) spec(ctx context.Context, name string) (*vm.Spec, error) {
	site, err := configs.Load(ctx, u.root)
	if err != nil {
		return nil, err
	}
	g, err := site.Guest(name)
	return &g.Spec, err
}

// abi is what the first start pinned of the guest that is measured.
func (u *ours) abi() (*vm.ABI, error) { return vm.LoadABI(u.host.ABILock(single)) }

func (u *ours) argv(args ...string) []string {
	return append([]string{u.bin, "--root", u.root}, args...)
}

// run runs kvmctl and gives what it printed on stdout.
func (u *ours) run(ctx context.Context, args ...string) (string, error) {
	return output(ctx, u.argv(args...)...)
}

// start is one run of `kvmctl start`, which returns when the guest's CPUs run.
func (u *ours) start(ctx context.Context) (time.Duration, error) {
	d, err := timed(ctx, u.argv("start", single)...)
	if err != nil {
		return 0, err
	}
	_, err = u.run(ctx, "stop", single, "--force")
	return d, err
}

func (u *ours) status(ctx context.Context) (time.Duration, error) {
	return timed(ctx, u.argv("status")...)
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s%03d", prefix, i+1)
	}
	return all
}

// define makes the guests of the status figure.
func (u *ours) define(ctx context.Context) error {
	for _, n := range names(prefix, u.o.defined-1) { // and the one whose start was measured
		if err := u.create(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// boot starts the i-th of them; ready returns when it has nothing left to do.
func (u *ours) boot(ctx context.Context, i int) error {
	_, err := u.run(ctx, "start", names(prefix, u.o.running)[i])
	return err
}

func (u *ours) ready(ctx context.Context, i int) error {
	_, err := u.run(ctx, "wait", names(prefix, u.o.running)[i], "--for", "console:"+guest.Ready, "--timeout", "240s")
	return err
}

// owner gives the pid of a guest's QEMU.
func (u *ours) owner(name string) (int, error) {
	abi, err := vm.LoadABI(u.host.ABILock(name))
	if err != nil {
		return 0, err
	}
	p, err := vm.FindOwner(u.host.Pidfile(name), u.host.UIDBase+abi.UID)
	if err != nil {
		return 0, fmt.Errorf("find the QEMU of %s: %w", name, err)
	}
	return p.PID, p.Close()
}

// statusStopped measures status while QEMUs of two guests stand still, and lets them go on.
func (u *ours) statusStopped(ctx context.Context, n int) (s series, err error) {
	for _, name := range names(prefix, 2) {
		pid, err := u.owner(name)
		if err != nil {
			return nil, err
		}
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unix.Kill(pid, unix.SIGCONT)) }()
	}
	out, err := u.run(ctx, "status")
	if err != nil {
		return nil, err
	}
	if got := strings.Count(out, " wedged "); got != 2 {
		return nil, fmt.Errorf("status shows %d wedged guests instead of 2:\n%s", got, out)
	}
	all, err := inTurn(ctx, n, contender{"kvmctl status, two guests stopped", u.status})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// stops stops guests gracefully and gives, for each, the time from its QEMU's end until kvmctl had returned.
func (u *ours) stops(ctx context.Context, n int) (series, error) {
	var s series
	for _, name := range names(prefix, min(n, u.o.running)) {
		pid, err := u.owner(name)
		if err != nil {
			return nil, err
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return nil, err
		}
		ended := make(chan time.Time, 1)
		go func() { // ends with QEMU, which either stops or dies with the namespace
			defer unix.Close(fd)
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			for {
				if n, err := unix.Poll(fds, -1); n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
					ended <- time.Now()
					return
				}
			}
		}()
		if _, err := timed(ctx, u.argv("stop", name)...); err != nil {
			return nil, err
		}
		now := time.Now()
		select {
		case at := <-ended:
			s = append(s, now.Sub(at))
		case <-time.After(time.Second):
			return nil, fmt.Errorf("kvmctl stop %s returned, and its QEMU (pid %d) lives", name, pid)
		}
	}
	return s, nil
}

// close ends every guest of ours.
func (u *ours) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := u.run(ctx, "stop", "--all", "--force")
	return err
}
