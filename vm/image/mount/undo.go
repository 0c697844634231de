package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/internal/mountinfo"
	"kvmctl/vm"
)

// How long each step of an undo may take. What was written has to get to the disk within writeTime.
const (
	writeTime = 30 * time.Second
	freeTime  = 10 * time.Second
	killTime  = 2 * time.Second
)

// Torn is a mount of which a part was gone, so that the rest was undone.
type Torn struct {
	Record
	Reason string // "its daemon ended"
	Err    error  // what could not be undone
}

// DaemonEnded is the Reason of a mount whose daemon was killed.
const DaemonEnded = "its daemon ended"

// Any tells, by one look at a directory, whether there may be mounts.
func (m *Manager) Any() bool {
	_, err := os.Stat(m.Layout.MountsDir())
	return err == nil
}

// List gives the mounts.
func (m *Manager) List() ([]Record, error) {
	all, err := m.records()
	var list []Record
	for _, r := range all {
		if r.Ready {
			list = append(list, *r)
		}
	}
	return list, err
}

// Settle undoes what is left of mounts of which a part is gone. While another kvmctl mounts or unmounts it leaves everything alone.
func (m *Manager) Settle(ctx context.Context) ([]Torn, error) {
	l, err := flock.TryLock(m.Layout.MountsLock())
	if errors.Is(err, flock.ErrLocked) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer l.Unlock()
	return m.settle(ctx)
}

// settle is Settle under the lock.
func (m *Manager) settle(ctx context.Context) ([]Torn, error) {
	all, err := m.records()
	if err != nil {
		return nil, err
	}
	var torn []Torn
	for _, r := range all {
		table, err := mountinfo.Read()
		if err != nil {
			return torn, err
		}
		if reason := m.missing(r, table); reason != "" {
			torn = append(torn, Torn{*r, reason, m.undo(ctx, r, true)})
		}
	}
	m.dropDir()
	return torn, nil
}

// dropDir removes the directory with the last mount: then no command has anything to look at.
func (m *Manager) dropDir() { _ = os.Remove(m.Layout.MountsDir()) }

// missing tells which part of a mount is gone; empty: none.
func (m *Manager) missing(r *Record, table []mountinfo.Entry) string {
	switch {
	case !r.Ready || r.Loop == nil:
		return "kvmctl was ended while it worked on it"
	case !loopIsOurs(*r.Loop, r.ID), mountsOf(table, loopPath(*r.Loop), r.Dir) == 0:
		return "somebody unmounted it"
	case r.UID == 0:
		return ""
	}
	if !m.daemonLives(r) {
		return DaemonEnded
	}
	return ""
}

func (m *Manager) daemonLives(r *Record) bool {
	p, err := vm.FindOwner(m.path(r.ID, pidName), r.UID)
	if err != nil {
		return false
	}
	p.Close()
	return true
}

// Umount undoes a mount; one that is gone is left so. A *BusyError leaves it whole.
func (m *Manager) Umount(ctx context.Context, id string) error {
	l, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer l.Unlock()
	all, err := m.records()
	if err != nil {
		return err
	}
	for _, r := range all {
		if r.ID != id {
			continue
		}
		table, err := mountinfo.Read()
		if err != nil {
			return err
		}
		return m.undo(ctx, r, m.missing(r, table) != "")
	}
	return nil
}

// undo takes a mount back, the last step first; each step may have been done, or never. With dead set a part is gone already, and nobody who
// still has a file open there keeps the rest.
func (m *Manager) undo(ctx context.Context, r *Record, dead bool) error {
	lost := ""
	alive := m.daemonLives(r)
	if r.NBD && !alive {
		if err := disconnect(r.ID); err != nil { // what waits for the daemon would keep the rest from being undone
			return err
		}
	}
	if r.Loop != nil && loopIsOurs(*r.Loop, r.ID) {
		if err := m.unmountDir(r, dead); err != nil {
			return err
		}
		if !waitLoop(*r.Loop, r.ID, freeTime) && !dead {
			return fmt.Errorf("free %s: it is still in use; see who: grep %s /proc/*/mountinfo", loopPath(*r.Loop), loopPath(*r.Loop))
		}
	}
	if r.UID != 0 {
		switch {
		case !r.RW || !r.Ready:
		case alive:
			lost = m.writeOut(ctx, r)
		default:
			lost = DaemonEnded
		}
		if err := m.hideDisk(r, dead); err != nil {
			return err
		}
		if err := m.endDaemon(ctx, r); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(m.path(r.ID)); err != nil {
		return fmt.Errorf("forget the mount: %w", err)
	}
	m.dropDir()
	if lost != "" {
		return &LostError{*r, lost}
	}
	return nil
}

// unmountDir unmounts the file system from its directory.
func (m *Manager) unmountDir(r *Record, dead bool) error {
	table, err := mountinfo.Read()
	if err != nil {
		return err
	}
	for range mountsOf(table, loopPath(*r.Loop), r.Dir) {
		err := unix.Unmount(r.Dir, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) && dead {
			err = unix.Unmount(r.Dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		switch {
		case errors.Is(err, unix.EBUSY):
			return &BusyError{r.Dir}
		case err != nil:
			return fmt.Errorf("unmount %s: %w", r.Dir, err)
		}
	}
	return nil
}

// writeOut has the daemon bring what was written to the disk, and says why that did not happen.
func (m *Manager) writeOut(ctx context.Context, r *Record) string {
	done := make(chan string, 1)
	go func() { // owner: this function, which does not wait longer than writeTime; the daemon's end frees it
		path, err := m.diskPath(r)
		if err == nil {
			err = syncFile(path)
		}
		if err != nil {
			done <- "its daemon could not write it out: " + err.Error()
			return
		}
		done <- ""
	}()
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	select {
	case why := <-done:
		return why
	case <-ctx.Done():
		return "its daemon did not write it out in time"
	}
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// hideDisk takes back the daemon's view of the image.
func (m *Manager) hideDisk(r *Record, dead bool) error {
	if r.NBD {
		return freeNBD(r.ID, dead)
	}
	return unmountAll(m.path(r.ID, diskName), dead)
}

// unmountAll unmounts whatever is on a path. A loop device's last moments may keep it busy.
func unmountAll(path string, dead bool) error {
	var err error
	free := poll(freeTime, func() bool {
		for err = nil; err == nil; {
			err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		}
		return !errors.Is(err, unix.EBUSY) || dead
	})
	if !free || errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// endDaemon asks the daemon to end, which closes the image in order, then kills it.
func (m *Manager) endDaemon(ctx context.Context, r *Record) error {
	p, err := vm.FindOwner(m.path(r.ID, pidName), r.UID)
	if errors.Is(err, vm.ErrNotRunning) { // it may not have come as far as its pidfile
		return vm.EndHelper(r.UID, m.path(r.ID, stderrName))
	}
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if p.Wait(ctx, freeTime) {
		return nil
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	if !p.Wait(context.WithoutCancel(ctx), killTime) {
		return &vm.StuckError{PID: p.PID}
	}
	if r.RW && r.Ready {
		return &LostError{*r, "its daemon had to be killed"}
	}
	return nil
}
