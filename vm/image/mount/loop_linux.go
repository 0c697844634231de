package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxLoop bounds a loop device's number (20 bits of minor).
const maxLoop = 1<<20 - 1

// loopTries is how often another program may be faster with a free loop device.
const loopTries = 16

func loopPath(n int) string { return "/dev/loop" + strconv.Itoa(n) }

// loopName is what a loop device of a mount's carries as its file name, so that it is known again.
func loopName(id string) (name [unix.LO_NAME_SIZE]byte) {
	copy(name[:], "kvmctl:"+id)
	return name
}

// openLoop shows size bytes of f from off as a block device. The device lives until its last user lets go (LO_FLAGS_AUTOCLEAR): us, if we
// are killed before the mount, else the mount. It keeps f open, with its locks.
func openLoop(f *os.File, id string, off, size int64, rw bool) (dev *os.File, n int, err error) {
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("find a loop device: %w", err)
	}
	defer ctl.Close()
	config := unix.LoopConfig{Fd: uint32(f.Fd()), Size: 512, Info: unix.LoopInfo64{
		Offset: uint64(off), Sizelimit: uint64(size), Flags: unix.LO_FLAGS_AUTOCLEAR, File_name: loopName(id)}}
	access := os.O_RDWR
	if !rw {
		access = os.O_RDONLY
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	for range loopTries {
		if n, err = unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			return nil, 0, fmt.Errorf("find a loop device: %w", err)
		}
		if dev, err = os.OpenFile(loopPath(n), access, 0); err != nil {
			return nil, 0, fmt.Errorf("open a loop device: %w", err)
		}
		if err = unix.IoctlLoopConfigure(int(dev.Fd()), &config); err == nil {
			return dev, n, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return nil, 0, fmt.Errorf("configure %s: %w", loopPath(n), err)
}

// loopIsOurs tells whether a loop device still shows the image of the mount id.
func loopIsOurs(n int, id string) bool {
	f, err := os.OpenFile(loopPath(n), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	return err == nil && info.File_name == loopName(id)
}

// waitLoop waits until the device let go of the image, at most d: the kernel does so after the last user's close.
func waitLoop(n int, id string, d time.Duration) bool {
	return poll(d, func() bool { return !loopIsOurs(n, id) })
}

// poll asks every 2 ms, at most for d.
func poll(d time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(d); ; time.Sleep(2 * time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
