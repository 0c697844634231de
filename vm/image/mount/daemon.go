package mount

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm"
	"kvmctl/vm/image"
	"kvmctl/vm/qmp"
)

// daemonTime bounds a daemon's start, from exec to the finished export; it takes 20 to 200 ms.
const daemonTime = 30 * time.Second

// maxRead is the largest request that QEMU's FUSE export takes, in bytes (block/export/fuse.c, FUSE_MAX_BOUNCE_BYTES).
const maxRead = 64 << 20

// showByDaemon starts the program that understands the image, as a process of no rights, and makes what it shows the disk.
func (w *work) showByDaemon(ctx context.Context) error {
	if err := w.chooseUID(); err != nil {
		return err
	}
	if err := w.m.save(w.rec); err != nil {
		return err
	}
	if err := w.makeFiles(); err != nil {
		return err
	}
	p, err := w.chooseProgram()
	defer closeAll(p.lent)
	if err != nil {
		return err
	}
	if p.nbd {
		return w.showByNBD(ctx, p)
	}
	return w.showByFUSE(ctx, p)
}

// showByFUSE mounts what the daemon shows. The mount is ours: the daemon only gets the open /dev/fuse, and nobody but root gets through to
// it (user_id=0 without allow_other).
func (w *work) showByFUSE(ctx context.Context, p program) error {
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	defer fuse.Close() // the daemon's is the last one: with the daemon the mount is dead
	opts := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,default_permissions,max_read=%d", fuse.Fd(), unix.S_IFREG, maxRead)
	flags := uintptr(unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC)
	if !w.rec.RW {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("kvmctl", w.m.path(w.rec.ID, diskName), "fuse", flags, opts); err != nil {
		return fmt.Errorf("mount what the daemon shows: %w", err)
	}
	if err := w.run(ctx, p, fuse); err != nil {
		return err
	}
	w.disk, err = os.OpenFile(w.m.path(w.rec.ID, diskName), w.access(), 0)
	return err
}

// access is how the disk is opened.
func (w *work) access() int {
	if w.rec.RW {
		return os.O_RDWR
	}
	return os.O_RDONLY
}

func (w *work) chooseUID() error {
	all, err := w.m.records()
	if err != nil {
		return err
	}
	var taken []int
	for _, r := range all {
		taken = append(taken, r.UID)
	}
	w.rec.UID, err = vm.FreeHelperUID(w.m.UIDBase, taken)
	return err
}

func (w *work) makeFiles() error {
	for name, perm := range map[string]os.FileMode{diskName: 0o600, pidName: 0o600} {
		if err := os.WriteFile(w.m.path(w.rec.ID, name), nil, perm); err != nil {
			return err
		}
	}
	return os.Chown(w.m.path(w.rec.ID, pidName), w.rec.UID, w.rec.UID)
}

// run starts the program and tells it what to show.
func (w *work) run(ctx context.Context, p program, fuse *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, daemonTime)
	defer cancel()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socketpair: %w", err)
	}
	theirs, ours := os.NewFile(uintptr(pair[0]), "monitor"), os.NewFile(uintptr(pair[1]), "monitor")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		theirs.Close()
		return err
	}
	defer conn.Close()
	err = w.launch(ctx, vm.Helper{Argv: p.argv, Files: append([]*os.File{theirs, fuse}, p.files...), FUSE: fuseFD})
	theirs.Close()
	if err != nil {
		return err
	}
	if err := w.export(ctx, conn, p); err != nil {
		return w.explain(ctx, err)
	}
	return w.checkLocked()
}

// launch starts the daemon, with the guards behind the files of h.
func (w *work) launch(ctx context.Context, h vm.Helper) error {
	stderr, err := os.OpenFile(w.m.path(w.rec.ID, stderrName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	guards, err := w.guards(ctx)
	defer closeAll(guards)
	if err != nil {
		return err
	}
	h.UID, h.Stderr, h.Pidfile = w.rec.UID, stderr, w.m.path(w.rec.ID, pidName)
	h.Files = slices.Concat(h.Files, guards)
	cmd, err := vm.LaunchHelper(h)
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // owner: the daemon's end, which undo waits for, or this process's own
	w.m.step("daemon")
	return nil
}

// checkLocked makes sure that the daemon keeps guests off the image. QEMU does without locks, and says nothing, where it finds no way to take
// them. The file is opened anew: a lock does not show to those who share its open file.
func (w *work) checkLocked() error {
	f, err := openImage(w.rec.Image, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	guarded, err := image.Guarded(f)
	if err == nil && !guarded {
		err = errors.New("the daemon does not lock it, so nothing would keep a guest from starting with it")
	}
	if err != nil {
		return fmt.Errorf("show the image: %w", err)
	}
	return nil
}

// guards are locks on what the image is based on, which the daemon holds without knowing. By itself it lets others write a raw backing file,
// because a FUSE export does not mind data that change (block.c, bdrv_default_perms_for_cow).
func (w *work) guards(ctx context.Context) (files []*os.File, err error) {
	for _, o := range w.images[1:] {
		f, err := openImage(o.link.Path, os.O_RDONLY)
		if err != nil {
			return files, err
		}
		files = append(files, f)
		if err := image.Hold(ctx, f, false); err != nil {
			return files, err
		}
	}
	return files, nil
}

// export builds the images from the bottom of the chain up, and shows the uppermost.
func (w *work) export(ctx context.Context, conn net.Conn, p program) error {
	c, err := qmp.NewClient(ctx, conn)
	if err != nil {
		return err
	}
	defer c.Close()
	var below any
	for i := len(w.images) - 1; i >= 0; i-- {
		o := w.images[i]
		file := fileNode(o, p.names[i])
		file["node-name"] = fmt.Sprintf("file%d", i)
		if err := c.Execute(ctx, "blockdev-add", file, nil); err != nil {
			return err
		}
		format := formatNode(o, file["node-name"], below)
		format["node-name"] = fmt.Sprintf("disk%d", i)
		if err := c.Execute(ctx, "blockdev-add", format, nil); err != nil {
			return err
		}
		below = format["node-name"]
	}
	return c.Execute(ctx, "block-export-add", map[string]any{"type": "fuse", "id": "disk", "node-name": below,
		"mountpoint": vm.HelperMountPoint(fuseFD), "writable": w.rec.RW, "growable": false, "allow-other": "off"}, nil)
}

// explain gives an error its best words: an image that another process holds, or what the daemon said at its end.
func (w *work) explain(ctx context.Context, err error) error {
	for i, o := range w.images {
		var locked *image.LockedError
		if errors.As(image.CheckUnlocked(context.WithoutCancel(ctx), o.link.Path, w.rec.RW && i == 0), &locked) && !w.isOurs(locked) {
			return locked
		}
	}
	said, _ := os.ReadFile(w.m.path(w.rec.ID, stderrName))
	if text := strings.TrimSpace(string(said[max(0, len(said)-1024):])); text != "" {
		return fmt.Errorf("show the image: %w; the daemon said: %s", err, strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\n", ": "))
	}
	return fmt.Errorf("show the image: %w", err)
}

// isOurs tells whether an image is held by our own daemon, or nobody whom we could name.
func (w *work) isOurs(e *image.LockedError) bool {
	p, err := vm.FindOwner(w.m.path(w.rec.ID, pidName), w.rec.UID)
	if err != nil {
		return false
	}
	defer p.Close()
	for _, h := range e.Holders {
		if h.PID != p.PID {
			return false
		}
	}
	return true
}
