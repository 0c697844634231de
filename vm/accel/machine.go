package accel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errTooOld says that the kernel's KVM lacks what the probe needs in order to be stoppable.
var errTooOld = errors.New("KVM without KVM_CAP_IMMEDIATE_EXIT (older than Linux 4.11)")

// machine is a VM with one virtual CPU, ready to run the program.
type machine struct {
	undo []func() error // in order of acquisition
	vcpu int
	mem  []byte // the guest's
	run  []byte // struct kvm_run, shared with the kernel
}

// newMachine builds a VM on kvm, an open /dev/kvm of the right API version. The thread that calls it has to be the one
// that calls turn.
func newMachine(kvm int, code []byte) (m *machine, err error) {
	m = new(machine)
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if n, err := ioctlInt(kvm, kvmCheckExtension, capImmediateExit); err != nil || n == 0 {
		return nil, errors.Join(errTooOld, err)
	}
	runBytes, err := ioctlInt(kvm, kvmGetVCPUMmapSize, 0)
	if err != nil {
		return nil, fmt.Errorf("KVM_GET_VCPU_MMAP_SIZE: %w", err)
	}
	if runBytes < runSize || runBytes > 1<<20 {
		return nil, fmt.Errorf("KVM_GET_VCPU_MMAP_SIZE: %d bytes", runBytes)
	}
	vm, err := ioctlInt(kvm, kvmCreateVM, 0)
	if err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VM: %w", err)
	}
	m.undo = append(m.undo, func() error { return unix.Close(vm) })
	if n, err := ioctlInt(kvm, kvmCheckExtension, capSetTSSAddr); err == nil && n > 0 {
		// Intel hosts want three pages below 4 GiB for themselves; the place is the one that api.rst suggests.
		if _, err := ioctlInt(vm, kvmSetTSSAddr, 0xfffbd000); err != nil {
			return nil, fmt.Errorf("KVM_SET_TSS_ADDR: %w", err)
		}
	}
	if m.mem, err = unix.Mmap(-1, 0, guestSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS); err != nil {
		return nil, fmt.Errorf("map guest memory: %w", err)
	}
	m.undo = append(m.undo, func() error { return unix.Munmap(m.mem) })
	fill(m.mem, code)
	region := userMemoryRegion{MemorySize: guestSize, UserspaceAt: uint64(uintptr(unsafe.Pointer(&m.mem[0])))}
	if err := ioctlPtr(vm, kvmSetUserMemoryRegion, &region); err != nil {
		return nil, fmt.Errorf("KVM_SET_USER_MEMORY_REGION: %w", err)
	}
	if m.vcpu, err = ioctlInt(vm, kvmCreateVCPU, 0); err != nil {
		return nil, fmt.Errorf("KVM_CREATE_VCPU: %w", err)
	}
	m.undo = append(m.undo, func() error { return unix.Close(m.vcpu) })
	if m.run, err = unix.Mmap(m.vcpu, 0, runBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map kvm_run: %w", err)
	}
	m.undo = append(m.undo, func() error { return unix.Munmap(m.run) })
	return m, m.setRegisters()
}

func (m *machine) setRegisters() error {
	var s sregs
	if err := ioctlPtr(m.vcpu, kvmGetSregs, &s); err != nil {
		return fmt.Errorf("KVM_GET_SREGS: %w", err)
	}
	longMode(&s)
	if err := ioctlPtr(m.vcpu, kvmSetSregs, &s); err != nil {
		return fmt.Errorf("KVM_SET_SREGS: %w", err)
	}
	if err := ioctlPtr(m.vcpu, kvmSetRegs, &regs{RIP: codeAt, RFLAGS: 2}); err != nil {
		return fmt.Errorf("KVM_SET_REGS: %w", err)
	}
	return nil
}

// close gives everything back, the last thing first.
func (m *machine) close() error {
	var errs []error
	for i := len(m.undo) - 1; i >= 0; i-- {
		errs = append(errs, m.undo[i]())
	}
	m.undo = nil
	return errors.Join(errs...)
}

// turn runs the guest until it halts, does something unforeseen, or limit or ctx ends. The caller has locked its
// goroutine to its thread.
func (m *machine) turn(ctx context.Context, limit time.Duration) outcome {
	var o outcome
	var before, after unix.Rusage
	unix.Getrusage(unix.RUSAGE_THREAD, &before) // cannot fail with these arguments
	start := time.Now()
	stop := m.kickAt(ctx, limit, unix.Gettid())
	for len(o.exits) < 2 && o.err == nil {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m.vcpu), kvmRun, 0)
		if errno == unix.EINTR {
			if atomic.LoadUint32(m.request()) == 0 {
				continue // a signal that was not ours
			}
			o.kicked = true
			break
		}
		if errno != 0 {
			o.err = fmt.Errorf("KVM_RUN: %w", errno)
			break
		}
		e := m.exit()
		o.exits = append(o.exits, e)
		if e.reason != exitIO {
			break
		}
	}
	o.took = time.Since(start)
	stop()
	unix.Getrusage(unix.RUSAGE_THREAD, &after)
	o.cpu = cpuTime(&after) - cpuTime(&before)
	o.result = binary.LittleEndian.Uint64(m.mem[resultAt:])
	if o.err == nil && !o.kicked {
		if err := ioctlPtr(m.vcpu, kvmGetRegs, &o.regs); err != nil {
			o.err = fmt.Errorf("KVM_GET_REGS: %w", err)
		}
	}
	return o
}

// kickAt makes thread tid leave KVM_RUN at the end of limit or ctx. The flag goes first: a signal that comes before the
// thread has entered the kernel is spent, but then the flag stops it at the door. The returned func waits for the kicker.
func (m *machine) kickAt(ctx context.Context, limit time.Duration, tid int) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-done:
			return
		case <-ctx.Done():
		case <-timer.C:
		}
		atomic.StoreUint32(m.request(), 1<<8) // immediate_exit is the second byte
		again := time.NewTicker(5 * time.Millisecond)
		defer again.Stop()
		for {
			// SIGURG is what Go's runtime preempts its own threads with: its handler takes a stray one in stride.
			unix.Tgkill(unix.Getpid(), tid, unix.SIGURG) // the thread lives until stop returns
			select {
			case <-done:
				return
			case <-again.C:
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (m *machine) request() *uint32 { return (*uint32)(unsafe.Pointer(&m.run[runRequest])) }

// exit reads why the guest stopped.
func (m *machine) exit() exit {
	e := exit{reason: binary.LittleEndian.Uint32(m.run[runExitReason:])}
	if e.reason != exitIO {
		return e
	}
	io := m.run[runIO:]
	e.out = io[0] == 1
	e.size = io[1]
	e.port = binary.LittleEndian.Uint16(io[2:])
	if at := binary.LittleEndian.Uint64(io[8:]); at < uint64(len(m.run)) {
		e.data = m.run[at]
	}
	return e
}

func cpuTime(u *unix.Rusage) time.Duration {
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
