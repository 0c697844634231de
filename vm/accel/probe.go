package accel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Device is where KVM is found.
const Device = "/dev/kvm"

// limit is what the loop may take: about 1 ms on hardware, 1.2 s and more where instructions are emulated.
const limit = 50 * time.Millisecond

// Probe runs the loop in a throw-away guest on device. It takes at most about 100 ms: the limit, once more where the host
// was too busy for the first to count. It leaves nothing behind and installs no signal handler.
func Probe(ctx context.Context, device string) Verdict { return probe(ctx, device, limit) }

func probe(ctx context.Context, device string, limit time.Duration) Verdict {
	var v Verdict
	for attempt := 0; attempt < 2 && ctx.Err() == nil; attempt++ {
		if v = try(ctx, device, limit); v.Cause != Busy {
			break
		}
	}
	if err := ctx.Err(); err != nil && !v.Usable {
		v = Verdict{Cause: Interrupted, Reason: "the probe was interrupted: " + err.Error()}
	}
	v.Checked = time.Now()
	return v
}

func try(ctx context.Context, device string, limit time.Duration) Verdict {
	if runtime.GOARCH != "amd64" {
		return Verdict{Cause: Missing, Reason: "a " + runtime.GOARCH + " host cannot run x86-64 guests by KVM"}
	}
	// A virtual CPU belongs to the thread that made it, and the kicker has to know which one runs it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, v, ok := open(device)
	if !ok {
		return v
	}
	defer unix.Close(fd)
	m, err := newMachine(fd, program(turns))
	if err != nil {
		return Verdict{Cause: Broken, Reason: fmt.Sprintf("%s: %v", device, err)}
	}
	v = judge(m.turn(ctx, limit), limit)
	if err := m.close(); err != nil {
		return Verdict{Cause: Broken, Took: v.Took, Reason: fmt.Sprintf("%s: give back the probe's guest: %v", device, err)}
	}
	return v
}

// open gives an fd of device if it is KVM of the API that everyone speaks, else the verdict on it.
func open(device string) (int, Verdict, bool) {
	no := func(c Cause, format string, args ...any) (int, Verdict, bool) {
		return -1, Verdict{Cause: c, Reason: fmt.Sprintf(format, args...)}, false
	}
	// O_NONBLOCK: a FIFO under that name must not hold us.
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	for errors.Is(err, unix.EINTR) {
		fd, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return no(Missing, "no %s", device)
	case errors.Is(err, fs.ErrPermission):
		return no(Denied, "%s: permission denied", device)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return no(Missing, "%s: no driver behind it (%v)", device, err)
	case err != nil:
		return no(NotKVM, "%s: %v", device, err)
	}
	version, err := ioctlInt(fd, kvmGetAPIVersion, 0)
	switch {
	case err != nil:
		unix.Close(fd)
		return no(NotKVM, "%s: not KVM (%v)", device, err)
	case version != apiVersion:
		unix.Close(fd)
		return no(NotKVM, "%s: KVM API version %d, not %d", device, version, apiVersion)
	}
	return fd, Verdict{}, true
}

// identity tells one device node from another, and from its successor after a reload of the module.
func identity(device string) (dev, ino, rdev uint64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return 0, 0, 0, &os.PathError{Op: "stat", Path: device, Err: err}
	}
	return st.Dev, st.Ino, st.Rdev, nil
}
