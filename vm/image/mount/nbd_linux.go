package mount

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kvmctl/vm"
	"kvmctl/vm/image/nbd"
)

// socketName is, for a moment, where the NBD server listens in a mount's directory.
const socketName = "nbd"

// settleTime bounds the wait for those on this host who look at each new disk.
const settleTime = 10 * time.Second

// showByNBD starts the program, agrees with it on the disk, and gives the connection to the kernel: from then on no process of root's stands
// between them.
func (w *work) showByNBD(ctx context.Context, p program) error {
	listener, conn, err := connected(w.m.path(w.rec.ID))
	if err != nil {
		return fmt.Errorf("make a socket for the daemon: %w", err)
	}
	defer conn.Close()
	err = w.launch(ctx, vm.Helper{Argv: p.argv, Files: append([]*os.File{listener}, p.files...), Serves: true})
	listener.Close() // with the daemon the connection is dead
	if err != nil {
		return err
	}
	e, err := w.agree(ctx, conn)
	if err != nil {
		return w.explain(ctx, err)
	}
	if err := w.checkLocked(); err != nil {
		return err
	}
	w.rec.NBD = true
	if err := w.m.save(w.rec); err != nil {
		return err
	}
	w.m.step("handshake")
	sock, err := conn.File()
	if err != nil {
		return err
	}
	defer sock.Close()
	n, err := nbd.Connect(sock, e, w.rec.ID)
	if err != nil {
		return err
	}
	w.m.step("nbd device")
	if w.disk, err = os.OpenFile(nbd.Path(n), w.access(), 0); err != nil {
		return fmt.Errorf("open the nbd device: %w", err)
	}
	return keepToOurselves(w.disk, n)
}

// connected makes a listening socket and its first connection, which is the only one it will ever have: its name is gone before anybody
// could use it.
func connected(dir string) (listener *os.File, conn *net.UnixConn, err error) {
	d, err := os.OpenFile(dir, unix.O_PATH|os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	name := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName) // a socket's name holds 107 bytes, a path may have more
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close() // which removes the name
	if conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"}); err != nil {
		return nil, nil, err
	}
	if listener, err = l.File(); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return listener, conn, nil
}

// agree asks the daemon what it shows, and refuses what would not keep what is written.
func (w *work) agree(ctx context.Context, conn net.Conn) (nbd.Export, error) {
	deadline := time.Now().Add(daemonTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nbd.Export{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	e, err := nbd.Handshake(conn)
	switch {
	case err != nil:
		return e, err
	case w.rec.RW && (e.Flags&nbd.FlagReadOnly != 0 || e.Flags&nbd.FlagFlush == 0):
		return e, fmt.Errorf("an NBD server with flags %#x cannot be written to safely", e.Flags)
	case !w.rec.RW:
		e.Flags |= nbd.FlagReadOnly
	}
	return e, nil
}

// keepToOurselves has the rest of the host leave the disk alone. A guest wrote what is on it: to this kernel and to udev it is a disk like
// any other, whose partitions they would show and whose volume groups they would start. The lock, which the loop device keeps with the open
// file, is what udev respects (systemd.io/BLOCK_DEVICE_LOCKING); the partitions that the kernel found are taken away again. One that
// somebody has opened since cannot be, and then the disk is not safe to mount.
func keepToOurselves(disk *os.File, n int) error {
	var err error
	locked := poll(settleTime, func() bool {
		err = unix.Flock(int(disk.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		return err == nil || !errors.Is(err, unix.EWOULDBLOCK)
	})
	if !locked || err != nil {
		return fmt.Errorf("lock %s: %w", nbd.Path(n), err)
	}
	gone := poll(settleTime, func() bool {
		paths, _ := filepath.Glob(fmt.Sprintf("/sys/block/nbd%d/nbd%dp*", n, n))
		err = nil
		for _, p := range paths {
			err = errors.Join(err, dropPartition(disk, filepath.Base(p)[len(fmt.Sprintf("nbd%dp", n)):]))
		}
		return len(paths) == 0
	})
	if !gone {
		return fmt.Errorf("another program on this host uses the partitions on %s: %w", nbd.Path(n), err)
	}
	return nil
}

// dropPartition makes the kernel forget a partition, and leaves the disk alone.
func dropPartition(disk *os.File, number string) error {
	no, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	part := unix.BlkpgPartition{Pno: int32(no)}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_DEL_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); e != 0 {
		return fmt.Errorf("forget partition %d: %w", no, e)
	}
	return nil
}

// diskPath is where the daemon's view of the image is.
func (m *Manager) diskPath(r *Record) (string, error) {
	if !r.NBD {
		return m.path(r.ID, diskName), nil
	}
	n, ok := nbd.Find(r.ID)
	if !ok {
		return "", errors.New("its nbd device is gone")
	}
	return nbd.Path(n), nil
}

// disconnect ends the connection between the kernel and the daemon.
func disconnect(id string) error {
	n, ok := nbd.Find(id)
	if !ok {
		return nil
	}
	return nbd.Disconnect(n)
}

// freeNBD waits until nobody has the device open any more, which is what makes it free. With dead set it does without.
func freeNBD(id string, dead bool) error {
	if err := disconnect(id); err != nil {
		return err
	}
	free := poll(freeTime, func() bool { _, ok := nbd.Find(id); return !ok })
	if n, ok := nbd.Find(id); !free && !dead && ok {
		return fmt.Errorf("free %s: it is still in use; see who: fuser -v %s", nbd.Path(n), nbd.Path(n))
	}
	return nil
}
