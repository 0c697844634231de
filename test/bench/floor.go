package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/netbridge"
	"kvmctl/vm"
)

// floor starts QEMU with the command line that kvmctl gives it, and with nothing else around: the time below which no tool can come.
//
// QEMU greets while it still reads its arguments, long before there is a machine, and answers nothing until it is made. So the clock
// runs on from the greeting to the answer to the command that follows every greeting, qmp_capabilities.
type floor struct {
	early  series // when each run's greeting came
	u      *ours
	dir    string
	argv   []string
	wiring *vm.Wiring
	kernel *netbridge.LinuxKernel
	spec   *vm.Spec
}

func newFloor(ctx context.Context, u *ours) (*floor, error) {
	// One start pins what the guest sees of its machine, so that kvmctl's next argv is the one that is taken here.
	if _, err := u.start(ctx); err != nil {
		return nil, err
	}
	spec, err := u.spec(ctx, single)
	if err != nil {
		return nil, err
	}
	p, err := u.host.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	f := &floor{u: u, dir: filepath.Join(u.root, "floor"), wiring: p.Wiring, spec: spec}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		return nil, err
	}
	p.Target.Pidfile = filepath.Join(f.dir, "qemu.pid")
	f.argv = vm.Args(spec, &p.ABI, p.Wiring, p.Target)
	f.kernel, err = netbridge.NewKernel()
	return f, err
}

// once opens what the wiring names, starts the clock, executes QEMU as root, and stops the clock when the greeted QEMU answers.
func (f *floor) once(ctx context.Context) (d time.Duration, err error) {
	files, rec, err := f.open(ctx)
	defer closeFiles(files)
	if err != nil {
		return 0, err
	}
	defer rec.Close()
	cmd := exec.CommandContext(ctx, f.argv[0], f.argv[1:]...)
	cmd.ExtraFiles = files
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	closeFiles(files)
	greeted, err := negotiate(rec)
	d = time.Since(began)
	_ = cmd.Process.Kill() // an error means that it has ended
	_ = cmd.Wait()         // killed by us: its exit says nothing
	if err != nil {
		return 0, fmt.Errorf("speak with QEMU: %w: %s", err, stderr.String())
	}
	f.early = append(f.early, greeted.Sub(began))
	return d, nil
}

// negotiate is the shortest QMP session: greeting, qmp_capabilities, answer. It gives the time of the greeting.
func negotiate(rec *os.File) (greeted time.Time, err error) {
	r := bufio.NewReader(io.LimitReader(rec, 64<<10))
	line, err := r.ReadString('\n')
	greeted = time.Now()
	if err == nil && !strings.HasPrefix(line, `{"QMP"`) {
		err = fmt.Errorf("no greeting: %q", line)
	}
	if err != nil {
		return greeted, err
	}
	if _, err := io.WriteString(rec, `{"execute":"qmp_capabilities"}`); err != nil {
		return greeted, err
	}
	if line, err = r.ReadString('\n'); err == nil && !strings.HasPrefix(line, `{"return"`) {
		err = fmt.Errorf("no answer: %q", line)
	}
	return greeted, err
}

// open opens, for each name of the wiring, a file of the kind that kvmctl opens. rec is our end of the recorder.
func (f *floor) open(ctx context.Context) (files []*os.File, rec *os.File, err error) {
	for _, name := range f.wiring.Names() {
		var file *os.File
		if name == "recorder" {
			file, rec, err = socketpair()
		} else {
			file, err = f.openOne(ctx, name)
		}
		if err != nil {
			return files, rec, fmt.Errorf("open %s: %w", name, err)
		}
		files = append(files, file)
	}
	if rec == nil {
		return files, nil, errors.New("the wiring has no recorder")
	}
	return files, rec, nil
}

func (f *floor) openOne(ctx context.Context, name string) (*os.File, error) {
	var disk, layer, nic, queue int
	switch {
	case name == "recorder.log", name == "console.log":
		return os.OpenFile(filepath.Join(f.dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	case name == "qmp", name == "monitor", name == "console", name == "agent":
		return listen(filepath.Join(f.dir, name))
	case name == "kernel":
		return memfd(f.spec.Kernel)
	case name == "initrd":
		return memfd(f.spec.Initrd)
	case scan(name, "disk%d.%d.ro", &disk, &layer):
		return os.Open(f.wiring.Chains[disk][layer].Path)
	case scan(name, "disk%d.%d", &disk, &layer):
		return os.OpenFile(f.wiring.Chains[disk][layer].Path, os.O_RDWR, 0)
	case scan(name, "nic%d.%d", &nic, &queue) && queue == 0:
		tap, err := f.kernel.OpenTAP(ctx, netbridge.TAP{Name: fmt.Sprintf("kvfloor.%d", nic), Alias: netbridge.TAPAlias("floor", nic),
			Bridge: bridge, Queues: 1, Spoof: true}) // nothing around: the floor has no port to lock
		if err != nil {
			return nil, err
		}
		return tap[0], nil
	}
	return nil, errors.New("the bench does not know this kind of descriptor")
}

// scan reports whether all of name has the form, and reads its numbers.
func scan(name, form string, a, b *int) bool {
	n, err := fmt.Sscanf(name, form, a, b)
	return n == 2 && err == nil && fmt.Sprintf(form, *a, *b) == name
}

func socketpair() (theirs, ours *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(pair[1]), "recorder"), os.NewFile(uintptr(pair[0]), "recorder"), nil
}

func listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 8)); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func memfd(path string) (*os.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	if _, err := file.WriteAt(data, 0); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
