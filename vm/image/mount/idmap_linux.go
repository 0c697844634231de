package mount

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// lend gives an O_PATH descriptor of the open file f through which uid may open it again, as if it were its owner: a private, idmapped mount
// of that one file (mount_setattr(2)), which nobody else sees and which ends with its last descriptor. Nothing is changed on the disk.
// A file system that cannot do it answers EINVAL.
func lend(f *os.File, uid int) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("examine image %s: %w", f.Name(), err)
	}
	ns, err := idmap(int(st.Uid), int(st.Gid), uid)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	fd, err := unix.OpenTree(int(f.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, fmt.Errorf("lend image %s: %w", f.Name(), err)
	}
	lent := os.NewFile(uintptr(fd), f.Name())
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC,
		Userns_fd: uint64(ns.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		lent.Close()
		return nil, fmt.Errorf("lend image %s: %w", f.Name(), err)
	}
	return lent, nil
}

// idmap makes a user namespace in which the file's owner stands for uid. It needs a process to be born in it, which does nothing and is killed.
func idmap(owner, group, uid int) (*os.File, error) {
	runtime.LockOSThread() // Pdeathsig and ptrace are about the thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"kvmctl-idmap"}
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, Ptrace: true, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: owner, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: group, HostID: uid, Size: 1}}}
	if err := cmd.Start(); err != nil { // it stands still at its first instruction
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	ns, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/user")
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	return ns, nil
}
