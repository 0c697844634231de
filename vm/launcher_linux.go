package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RunLauncher becomes QEMU: it gives up every privilege and execs. It returns only when something failed.
//
// It runs in a process of its own because most of what it changes belongs to a thread: done in kvmctl it could stay behind on the
// main thread, which Go cannot end. Call it first in main, with the main goroutine still on the main thread.
func RunLauncher() error {
	runtime.LockOSThread() // exec keeps the credentials of the thread that calls it
	// At once: what a terminal sends to kvmctl's group is not for us.
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM { // EPERM: already a leader
		return fmt.Errorf("setsid: %w", err)
	}
	unix.Umask(0o077)
	fds, err := receiveOrder(orderFD)
	if err != nil {
		return fmt.Errorf("receive the order: %w", err)
	}
	plan, err := takePlaces(fds)
	if err != nil {
		return err
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

// errNoOrder is the end of a launcher that is not needed.
var errNoOrder = errors.New("there is none")

// The first descriptors of an order; the program's own follow.
const (
	orderPlan = iota
	orderStderr
	orderLock
	orderFiles
)

// receiveOrder reads messages of descriptors from the socket until one is the last. Only raw system calls: what the runtime opened for
// its poller would stand where the program's descriptors go.
func receiveOrder(sock int) ([]int, error) {
	var all []int
	for {
		more, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(maxPassed*4))
		n, oobn, flags, _, err := unix.Recvmsg(sock, more, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, errNoOrder
		case flags&unix.MSG_CTRUNC != 0:
			return nil, errors.New("descriptors were lost: too many are open")
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			if err != nil {
				return nil, err
			}
			all = append(all, fds...)
		}
		if more[0] == 0 {
			return all, unix.Close(sock)
		}
	}
}

// takePlaces puts the descriptors of an order where the program expects them, and gives the plan.
func takePlaces(fds []int) (plan launchPlan, err error) {
	if len(fds) < orderFiles {
		return plan, fmt.Errorf("read the order: %d descriptors", len(fds))
	}
	if err := unix.Dup3(fds[orderStderr], unix.Stderr, 0); err != nil { // first: whatever goes wrong is said there
		return plan, fmt.Errorf("take over stderr: %w", err)
	}
	f := os.NewFile(uintptr(fds[orderPlan]), "plan")
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxPlan))
	if err == nil {
		err = json.Unmarshal(b, &plan)
	}
	if err != nil {
		return plan, fmt.Errorf("read the plan: %w", err)
	}
	f.Close()
	if plan.UID <= 0 || len(plan.Argv) == 0 {
		return plan, errors.New("the plan names no uid or no program")
	}
	// First all above the places, then each to its place: one that stands on another's would be overwritten.
	above := FirstFD + len(fds)
	for i, fd := range fds[orderLock:] {
		high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, above)
		if err != nil {
			return plan, fmt.Errorf("move a descriptor: %w", err)
		}
		unix.Close(fd)
		fds[orderLock+i] = high
	}
	for i, high := range fds[orderFiles:] {
		if err := unix.Dup3(high, FirstFD+i, 0); err != nil {
			return plan, fmt.Errorf("place descriptor %d: %w", FirstFD+i, err)
		}
		unix.Close(high)
	}
	return plan, nil // the lock is closed on exec
}

// maxPlan bounds a plan: a command line of the longest that the kernel takes, escaped.
const maxPlan = 3 * maxArgv

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
