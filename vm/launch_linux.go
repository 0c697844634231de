package vm

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LauncherName is argv[0] under which this program is started again as the launcher of a guest.
const LauncherName = "kvmctl-launch"

// planFD is where the launcher finds its plan; the guest's own descriptors follow it.
const planFD = 3

// launchPlan is all that the launcher does.
type launchPlan struct {
	Lock   int      `json:"lock"` // descriptor to lose on exec
	UID    int      `json:"uid"`
	Groups []int    `json:"groups"`
	Argv   []string `json:"argv"`
	Env    []string `json:"env"`
	Cage   *cage    `json:"cage,omitempty"` // of a helper; nil: the host's own file systems
}

// launch starts QEMU by way of the launcher. files become descriptors FirstFD, FirstFD+1, …; stderr goes to the given file. The launcher
// holds lock until it becomes QEMU.
func launch(plan launchPlan, files []*os.File, lock, stderr *os.File) (*exec.Cmd, error) {
	plan.Lock = FirstFD + len(files)
	b, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	pf, err := memfd("kvmctl-plan", b)
	if err != nil {
		return nil, err
	}
	defer pf.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{LauncherName}
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.Dir = "/"
	cmd.Stderr = stderr
	cmd.ExtraFiles = append(append([]*os.File{pf}, files...), lock)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the launcher: %w", err)
	}
	return cmd, nil
}

// memfd gives an anonymous file with the given content, positioned at its start.
func memfd(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("fill a memfd: %w", err)
	}
	return f, nil
}

// RunLauncher becomes QEMU: it gives up every privilege and execs. It returns only when something failed.
//
// It runs in a process of its own because most of what it changes belongs to a thread: done in kvmctl it could stay behind on the
// main thread, which Go cannot end. Call it first in main, with the main goroutine still on the main thread.
func RunLauncher() error {
	runtime.LockOSThread() // exec keeps the credentials of the thread that calls it
	f := os.NewFile(planFD, "plan")
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	f.Close()
	var plan launchPlan
	if err := json.Unmarshal(b, &plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if plan.UID <= 0 || plan.Lock < FirstFD || len(plan.Argv) == 0 {
		return fmt.Errorf("the plan names no uid, no lock or no program")
	}
	unix.CloseOnExec(plan.Lock)
	unix.Umask(0o077)
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM { // EPERM: already a leader
		return fmt.Errorf("setsid: %w", err)
	}
	if plan.Cage != nil {
		if err := plan.Cage.enter(plan.Argv[0]); err != nil {
			return err
		}
	}
	if err := dropPrivileges(plan.UID, plan.Groups); err != nil {
		return err
	}
	if err := defaultSignals(); err != nil {
		return err
	}
	return fmt.Errorf("exec %s: %w", plan.Argv[0], unix.Exec(plan.Argv[0], plan.Argv, plan.Env))
}

// defaultSignals takes back what the caller blocked or ignored: exec would keep both, and a rung of the stop ladder would be gone.
func defaultSignals() error {
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("clear the signal mask: %w", err)
	}
	const last = 64 // _NSIG
	for sig := uintptr(1); sig <= last; sig++ {
		if sig == uintptr(unix.SIGKILL) || sig == uintptr(unix.SIGSTOP) {
			continue
		}
		var act struct{ handler, flags, restorer, mask uintptr } // the kernel's own struct, rt_sigaction(2); all zero: SIG_DFL
		if _, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&act)), 0, unsafe.Sizeof(act.mask), 0, 0); e != 0 {
			return fmt.Errorf("reset signal %d: %w", sig, e)
		}
	}
	return nil
}

// dropPrivileges works on this thread alone, by raw system calls.
func dropPrivileges(uid int, groups []int) error {
	last, err := lastCapability()
	if err != nil {
		return err
	}
	for c := 0; c <= last; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	gids := make([]uint32, len(groups)+1) // one more, so that there is an address to give
	for i, g := range groups {
		gids[i] = uint32(g)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&gids[0])), 0); e != 0 {
		return fmt.Errorf("setgroups: %w", e)
	}
	id := uintptr(uid)
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESGID, id, id, id); e != 0 {
		return fmt.Errorf("setresgid %d: %w", uid, e)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, id, id, id); e != 0 {
		return fmt.Errorf("setresuid %d: %w", uid, e)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		return fmt.Errorf("clear the capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}

func lastCapability() (int, error) {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(b[:max(0, len(b)-1)]))
	if err != nil || n < 0 || n > 63 {
		return 0, fmt.Errorf("read cap_last_cap: %q", b)
	}
	return n, nil
}

// SealInheritance keeps descriptors that kvmctl was started with from its children: a caller's `flock 9` must not live as long as a guest.
// Call it first thing in main. stdin, stdout and stderr stay.
func SealInheritance() error {
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark inherited descriptors close-on-exec: %w", err)
	}
	return nil
}
