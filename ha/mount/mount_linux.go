package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/child"
	"kvmctl/internal/mountinfo"
	"kvmctl/internal/proc"
	"kvmctl/internal/runner"
)

// here is what a Mounter uses of Linux.
type here struct {
	signal    func(*proc.Process, unix.Signal) error
	umount    func(dir string) error
	proc, sys string // where the kernel's own tables are
}

func system() here {
	umount := func(dir string) error { return unix.Unmount(dir, unix.UMOUNT_NOFOLLOW) }
	return here{signal: (*proc.Process).Signal, umount: umount, proc: "/proc", sys: "/sys"}
}

// whole is how long a call may take whose context has no deadline.
const whole = 10 * time.Minute

// hangGrace is how long an act whose context has ended may take to come back.
const hangGrace = 2 * time.Second

// Mount mounts m, after a look at the file system as m.Fsck wants it. A file system that is mounted there already is left as it is. Errors:
// ErrNoDevice, ErrNoDir, ErrReadOnly, ErrRefused, ErrHangs, *OtherError, *CheckError, *BusyError.
func (x *Mounter) Mount(ctx context.Context, m Mount) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("mount %s: %w", m.Device, err)
	}
	if err := x.act(ctx, m.Dir, func(ctx context.Context) error { return x.mount(ctx, m) }); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.Device, m.Dir, err)
	}
	return nil
}

func (x *Mounter) mount(ctx context.Context, m Mount) error {
	dev, err := blockDevice(m.Device)
	if err != nil {
		return err
	}
	dir, err := directory(m.Dir)
	if err != nil {
		return err
	}
	if done, err := state(m, dir, dev); done || err != nil {
		return err
	}
	// A device that is mounted elsewhere, in a namespace perhaps, must not be checked, but can be mounted: it is the same file system.
	switch err := exclusive(m.Device); {
	case err == nil:
		if err := x.check(ctx, m); err != nil {
			return err
		}
	case !errors.Is(err, unix.EBUSY):
		return err
	}
	if err := x.call(ctx, m, dir); errors.Is(err, ErrRefused) && errors.Is(exclusive(m.Device), unix.EBUSY) {
		holders, _, _ := x.holders(ctx, m, dev)
		return &BusyError{Device: m.Device, Dir: m.Dir, Holders: holders, Cause: err}
	} else if err != nil {
		return err
	}
	done, err := state(m, dir, dev)
	if err == nil && !done {
		return fmt.Errorf("%w: mount(8) said nothing, and it is not there", ErrRefused)
	}
	return err
}

// call runs mount(8). Without --rw it mounts what is write-protected for reading, and ends with 0.
func (x *Mounter) call(ctx context.Context, m Mount, dir string) error {
	argv := []string{"mount", "-n", "-t", m.Type}
	if !m.readOnly() {
		argv = append(argv, "--rw")
	}
	if m.Options != "" {
		argv = append(argv, "-o", m.Options)
	}
	r, err := x.run.Run(ctx, runner.Command{Argv: append(argv, m.Device, dir)})
	switch {
	case err != nil:
		return err
	case r.Exit != 0:
		return fmt.Errorf("%w: mount ended with %d: %s", ErrRefused, r.Exit, child.Printable(string(r.Stderr)))
	}
	return nil
}

// Mounted reports whether m is mounted where it belongs. The error is an *OtherError when something else is, ErrReadOnly when it cannot be
// written and ought to be.
func (x *Mounter) Mounted(m Mount) (bool, error) {
	dev, err := blockDevice(m.Device)
	if err != nil {
		return false, err
	}
	dir, err := directory(m.Dir)
	if err != nil {
		return false, err
	}
	return state(m, dir, dev)
}

// state looks in the table of mounts.
func state(m Mount, dir string, dev number) (mounted bool, err error) {
	table, err := mountinfo.Read()
	if err != nil {
		return false, err
	}
	e, ok := top(table, dir)
	switch {
	case !ok:
		return false, nil
	case device(e) != dev || e.Root != "/":
		return false, &OtherError{dir, name(e.Source), e.Type}
	case e.ReadOnly() && !m.readOnly():
		return true, ErrReadOnly
	}
	return true, nil
}

// blockDevice gives the number of a device.
func blockDevice(path string) (number, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return number{}, fmt.Errorf("%s: %w: %w", path, ErrNoDevice, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return number{}, fmt.Errorf("%s: %w", path, ErrNoDevice)
	}
	return number{unix.Major(st.Rdev), unix.Minor(st.Rdev)}, nil
}

// directory gives the path of a mount point as the kernel writes it, without symbolic links.
func directory(path string) (string, error) {
	dir, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w: %w", path, ErrNoDir, unix.ENOENT)
	} else if err != nil {
		return "", err
	}
	if st, err := os.Stat(dir); err != nil {
		return "", err
	} else if !st.IsDir() {
		return "", fmt.Errorf("%s: %w", path, ErrNoDir)
	}
	return dir, nil
}

// exclusive proves that no file system, swap or other device is on the device: each of these claims it, even one that no table of mounts
// shows any more. EBUSY: there is one.
func exclusive(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open %s exclusively: %w", path, err)
	}
	return unix.Close(fd)
}

// act runs f, which the kernel may hold for as long as a device's I/O is frozen, and comes back soon after ctx's end even so; what is then
// still under way is waited for by the next act in that directory.
func (x *Mounter) act(ctx context.Context, dir string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, whole)
	for {
		x.mu.Lock()
		before := x.running[dir]
		if before == nil {
			break
		}
		x.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			cancel()
			return fmt.Errorf("%w from an earlier call: %w", ErrHangs, context.Cause(ctx))
		}
	}
	back, result := make(chan struct{}), make(chan error, 1)
	x.running[dir] = back
	x.mu.Unlock()
	go func() {
		defer cancel()
		err := f(ctx)
		x.mu.Lock()
		delete(x.running, dir)
		x.mu.Unlock()
		close(back)
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	t := time.NewTimer(hangGrace)
	defer t.Stop()
	select {
	case err := <-result:
		return err
	case <-t.C:
		return fmt.Errorf("%w: %w", ErrHangs, context.Cause(ctx))
	}
}
