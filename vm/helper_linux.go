package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
)

// Helper is a program of QEMU's that works for kvmctl under the rules of a guest: a uid of its own, no capability, no new privileges,
// nothing open but what it was handed. It sees little of the host's file systems: those of the programs, /proc, and a /dev of its own.
type Helper struct {
	UID     int
	Argv    []string   // Argv[0] is the program's path
	Files   []*os.File // become descriptors FirstFD, FirstFD+1, …
	Stderr  *os.File
	Pidfile string // made beforehand for UID; the program finds it as HelperPidfile and has to lock it
	FUSE    int    // the descriptor that is an open /dev/fuse, whose mount is the caller's; 0: none
	Serves  bool   // Files[0] is a listening socket, which the program is told of as systemd does it: sd_listen_fds(3)
}

// tellListener gives a program the socket at FirstFD. LISTEN_PID has to be its own pid, which nobody knows before it is there.
const tellListener = `LISTEN_PID=$$; export LISTEN_PID; exec "$@"`

// HelperPidfile is the pidfile as a helper sees it.
const HelperPidfile = "/dev/pid"

// HelperMountPoint is what a helper gives libfuse as the mount point of descriptor fd. libfuse (lib/mount_util.c, "/dev/fd/%u") takes the
// descriptor and mounts nothing, and QEMU (block/export/fuse.c, is_regular_file) wants a regular file under that name: the cage has one.
func HelperMountPoint(fd int) string { return "/dev/fd/" + strconv.Itoa(fd) }

// LaunchHelper starts a helper: see launch.
func LaunchHelper(h Helper) (*exec.Cmd, error) {
	plan := launchPlan{UID: h.UID, Argv: h.Argv, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Cage: &cage{Program: h.Argv[0], Pidfile: h.Pidfile, FUSE: h.FUSE}}
	if h.Serves {
		plan.Argv = append([]string{"/bin/sh", "-c", tellListener, "sh"}, h.Argv...)
		plan.Env = append(plan.Env, "LISTEN_FDS=1")
	}
	return launch(plan, h.Files, h.Stderr)
}

// EndHelper kills what runs as uid and writes its errors to the file stderr: a helper, or what is about to become one.
func EndHelper(uid int, stderr string) error { return killAll(uid, stderr) }

// helperUIDs are the numbers of helpers: above those of guests, so that neither can be given the other's.
const helperUIDs = 64

// FreeHelperUID gives a uid that no guest can have and nobody uses: no account, no subordinate range, no running process and none of
// taken. The caller holds a lock that keeps others from asking.
func FreeHelperUID(base int, taken []int) (int, error) {
	accounts, err := accountUIDs()
	if err != nil {
		return 0, err
	}
	running := map[int]bool{}
	for _, u := range processUIDs() {
		running[u] = true
	}
	first := base + maxUIDs + 1
	for uid := first; uid < first+helperUIDs; uid++ {
		if !slices.Contains(taken, uid) && !running[uid] && !accounts.contains(uid) {
			return uid, nil
		}
	}
	return 0, fmt.Errorf("find a free uid: %d … %d are all in use", first, first+helperUIDs-1)
}

// cage is the view of the file systems that a helper gets.
type cage struct {
	Program string
	Pidfile string
	FUSE    int
}

// enter changes this thread's mount namespace. A copy of the host's mounts would keep each of them busy for as long as the helper lives, so
// all that the program does not need are let go.
func (c *cage) enter() error {
	defer unix.Umask(unix.Umask(0o022)) // the program's uid has to get through to what is made here
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare the mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	table, err := mountinfo.Read()
	if err != nil {
		return err
	}
	const dev = "/dev"
	letGo := func(which func(point string) bool) {
		for _, e := range slices.Backward(table) {
			if which(e.Point) {
				_ = unix.Unmount(e.Point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // one that stays does no harm but stay busy
			}
		}
	}
	// QEMU tries on /dev/null whether this kernel has the locks that keep a guest off a mounted image (util/osdep.c, qemu_probe_lock_ops);
	// without it it would do without them and say nothing.
	seen := map[string]string{"/dev/null": "/dev/null", HelperPidfile: c.Pidfile}
	trees := map[string]int{}
	for to, from := range seen {
		if trees[to], err = unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC); err != nil {
			return fmt.Errorf("keep %s: %w", from, err)
		}
	}
	letGo(func(point string) bool { return point == dev || strings.HasPrefix(point, dev+"/") })
	if err := unix.Mount("kvmctl", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mount a /dev: %w", err)
	}
	for to, tree := range trees {
		if err := os.WriteFile(to, nil, 0o600); err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("show %s: %w", to, err)
		}
	}
	if c.FUSE != 0 {
		if err := os.Mkdir(dev+"/fd", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(HelperMountPoint(c.FUSE), nil, 0o444); err != nil {
			return err
		}
	}
	letGo(func(point string) bool { return !needsMount(point, c.Program) })
	return nil
}

// needsMount says which of the host's mount points a program needs: its own, its libraries' and /proc.
func needsMount(point, program string) bool {
	if point == "/" || point == "/proc" || point == "/dev" || strings.HasPrefix(point, "/dev/") {
		return true // what is at /dev by now is the cage's own
	}
	for _, dir := range []string{"/usr", "/lib", "/lib32", "/lib64", "/etc", filepath.Dir(program)} {
		if point == dir || strings.HasPrefix(dir, point+"/") || strings.HasPrefix(point, dir+"/") {
			return true
		}
	}
	return false
}
