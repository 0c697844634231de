package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// initName is argv[0] of the first process in the bench's own namespaces.
const initName = "kvmctl-bench-init"

// enter runs the bench again in pid, mount and network namespaces of its own and gives its exit code. Its guests, daemons, mounts,
// bridges and TAPs can meet nobody else's, and end with its first process, however that ends: nothing has to be found and killed.
func enter(ctx context.Context, root string) (int, error) {
	runtime.LockOSThread() // Pdeathsig is about the thread that made the child
	defer runtime.UnlockOSThread()
	args := append([]string{initName, "-inside", root}, os.Args[1:]...)
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: args, Stdout: os.Stdout, Stderr: os.Stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
		Setpgid:    true, // ^C is for us to hear
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("enter new namespaces: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return exitCode(err)
	case <-ctx.Done():
	}
	_ = cmd.Process.Kill() // the kernel ends every process of its namespace before Wait returns
	<-done
	return 1, errors.New("interrupted; everything that was started has ended")
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// beInit is the namespaces' first process: it sets them up, starts the bench and buries what is orphaned, QEMUs among it.
func beInit() int {
	if err := setUp(); err != nil {
		return fail(err)
	}
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{"bench"}, os.Args[1:]...), Stdout: os.Stdout, Stderr: os.Stderr}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fail(fmt.Errorf("wait for children: %w", err))
		}
		if pid == cmd.Process.Pid {
			return status.ExitStatus()
		}
	}
}

// setUp gives the namespaces what programs expect to find: a /proc and a /sys that show them, an empty /run, lo.
func setUp() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, m := range []struct{ kind, path string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.path, m.kind, unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.path, err)
		}
	}
	if err := giveKVM(); err != nil {
		return fmt.Errorf("give /dev/kvm to its group: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// giveKVM shows /dev/kvm as Debian's udev does: 0660 root:kvm. Where it belongs to root alone libvirt's QEMU can use it and libvirtd
// thinks that it cannot, so that every `virsh start` asks QEMU for its abilities anew: twice as long, and not libvirt's fault.
func giveKVM() error {
	const node = "/run/bench-kvm"
	var st unix.Stat_t
	group, err := user.LookupGroup("kvm")
	if err != nil || unix.Stat("/dev/kvm", &st) != nil {
		return nil // nothing to give, or nobody to give it to
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil {
		return err
	}
	return errors.Join(unix.Mknod(node, unix.S_IFCHR|0o660, int(st.Rdev)), unix.Chown(node, 0, gid), unix.Chmod(node, 0o660),
		unix.Mount(node, "/dev/kvm", "", unix.MS_BIND, ""))
}

// processes gives the pid, program and command line of everything that runs in the namespaces except the bench itself.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, e := range entries {
		var p process
		if _, err := fmt.Sscanf(e.Name(), "%d", &p.pid); err != nil || p.pid == 1 || p.pid == os.Getpid() {
			continue
		}
		dir := "/proc/" + e.Name()
		exe, err := os.Readlink(dir + "/exe")
		if err != nil {
			continue // it ended meanwhile, or is a zombie
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		p.exe, p.line = strings.TrimSuffix(exe, " (deleted)"), strings.ReplaceAll(string(line), "\x00", " ")
		all = append(all, p)
	}
	return all, nil
}

type process struct {
	pid  int
	exe  string
	line string
}
