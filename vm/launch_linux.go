package vm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launchPlan says what is started, and as whom.
type launchPlan struct {
	UID    int // and gid
	Groups []int
	Argv   []string // Argv[0] is the program's path
	Env    []string
	Cage   *cage // of a helper; nil: the host's own file systems
}

// launch starts a program that has no privilege: files are its descriptors FirstFD, FirstFD+1, …, and stderr is where its errors go; nil:
// nowhere. It returns once the program is executed, or could not be. A lock that the caller holds on a close-on-exec descriptor is shared by
// the child until then: who gets it after the caller's death knows that there is no child, or that it is the program.
//
// Most of what has to be given up belongs to a thread and to the processes that it makes (capabilities(7), prctl(2), unshare(2)). So this
// happens on a thread that ends with it.
func launch(plan launchPlan, files []*os.File, stderr *os.File) (*exec.Cmd, error) {
	if plan.UID <= 0 || len(plan.Argv) == 0 {
		return nil, errors.New("the plan names no uid or no program")
	}
	groups := make([]uint32, len(plan.Groups))
	for i, g := range plan.Groups {
		groups[i] = uint32(g)
	}
	cmd := exec.Command(plan.Argv[0])
	cmd.Args = plan.Argv
	cmd.Env = plan.Env
	cmd.Dir = "/"
	cmd.ExtraFiles = files
	if stderr != nil { // a nil *os.File in an io.Writer is not nil
		cmd.Stderr = stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // what a terminal sends to kvmctl's group is not for the program
		Credential: &syscall.Credential{Uid: uint32(plan.UID), Gid: uint32(plan.UID), Groups: groups},
	}
	err := onThreadOfItsOwn(func() error {
		if err := confine(); err != nil {
			return err
		}
		if plan.Cage != nil {
			if err := plan.Cage.enter(); err != nil {
				return err
			}
		}
		return withDefaultSignals(cmd.Start)
	})
	if err != nil {
		return nil, err
	}
	return cmd, nil
}

// onThreadOfItsOwn runs f on a thread that nothing else ran on and nothing else will: Go ends it with the goroutine that is locked to it, and
// makes no thread from it (go doc runtime.LockOSThread). The main thread it cannot end, so f never gets that one.
func onThreadOfItsOwn(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		err := onThreadOfItsOwn(f) // another one: we sit on this
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// confine gives up, for this thread and what it will start, all but what the change of the uid still needs; execve(2) takes the rest.
func confine() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // the umask is the process's otherwise
		return fmt.Errorf("unshare the umask: %w", err)
	}
	unix.Umask(0o077)
	for c := uintptr(0); ; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); c > 0 && errors.Is(err, unix.EINVAL) {
			break // the kernel has no more
		} else if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	caps[0].Inheritable, caps[1].Inheritable = 0, 0 // which empties the ambient set, too
	if err := unix.Capset(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("clear the inheritable capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("clear the signal mask: %w", err)
	}
	return nil
}

// one at a time: an ignored signal belongs to the process.
var signalsMu sync.Mutex

// withDefaultSignals runs f while no signal is ignored: exec keeps that, and a rung of the stop ladder would be gone. Signals that are caught
// need nothing: exec resets them.
func withDefaultSignals(f func() error) error {
	signalsMu.Lock()
	defer signalsMu.Unlock()
	const last, ignore = 64, 1                                   // _NSIG, SIG_IGN
	type action struct{ handler, flags, restorer, mask uintptr } // the kernel's own struct, rt_sigaction(2); all zero: SIG_DFL
	swap := func(sig uintptr, set, was *action) error {
		_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(was)), unsafe.Sizeof(was.mask), 0, 0)
		if e != 0 {
			return fmt.Errorf("reset signal %d: %w", sig, e)
		}
		return nil
	}
	for sig := uintptr(1); sig <= last; sig++ {
		if sig == uintptr(unix.SIGKILL) || sig == uintptr(unix.SIGSTOP) {
			continue
		}
		var was, def action
		if err := swap(sig, nil, &was); err != nil {
			return err
		}
		if was.handler != ignore {
			continue
		}
		if err := swap(sig, &def, &was); err != nil {
			return err
		}
		defer func() { _ = swap(sig, &was, &def) }() // it went the other way
	}
	return f()
}

// SealInheritance keeps descriptors that kvmctl was started with from its children: a caller's `flock 9` must not live as long as a guest.
// Call it first thing in main. stdin, stdout and stderr stay.
func SealInheritance() error {
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("mark inherited descriptors close-on-exec: %w", err)
	}
	return nil
}
