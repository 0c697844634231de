package accel

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The KVM interface: numbers and structures of linux/kvm.h and asm/kvm.h for x86-64.
const (
	kvmGetAPIVersion       = 0xae00
	kvmCreateVM            = 0xae01
	kvmCheckExtension      = 0xae03
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetTSSAddr          = 0xae47
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmRun                 = 0xae80
	kvmGetRegs             = 0x8090ae81
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	apiVersion = 12 // "any other is to be refused" (Documentation/virt/kvm/api.rst, 4.1)

	capSetTSSAddr    = 4
	capImmediateExit = 136 // since Linux 4.11

	exitIO            = 2
	exitHLT           = 5
	exitShutdown      = 8
	exitFailEntry     = 9
	exitInternalError = 17
)

// Offsets into struct kvm_run.
const (
	runRequest    = 0 // request_interrupt_window, immediate_exit, padding: all zero but what we set
	runExitReason = 8
	runIO         = 32
	runSize       = 2352 // of the whole structure; the mapping has to hold at least so much
)

type regs struct {
	RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP uint64
	R8, R9, R10, R11, R12, R13, R14, R15   uint64
	RIP, RFLAGS                            uint64
}

type segment struct {
	Base                                              uint64
	Limit                                             uint32
	Selector                                          uint16
	Type, Present, DPL, DB, S, L, G, AVL, Unusable, _ uint8
}

type dtable struct {
	Base  uint64
	Limit uint16
	_     [3]uint16
}

type sregs struct {
	CS, DS, ES, FS, GS, SS, TR, LDT         segment
	GDT, IDT                                dtable
	CR0, CR2, CR3, CR4, CR8, EFER, ApicBase uint64
	InterruptBitmap                         [4]uint64
}

type userMemoryRegion struct {
	Slot, Flags                            uint32
	GuestPhysAddr, MemorySize, UserspaceAt uint64
}

// ioctlInt is an ioctl whose argument is a number. It goes on after EINTR: KVM_CREATE_VM gives that for any signal, and
// Go's runtime sends itself SIGURG at will.
func ioctlInt(fd int, req, arg uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, arg)
		if errno == 0 {
			return int(r), nil
		}
		if !errors.Is(errno, unix.EINTR) {
			return 0, errno
		}
	}
}

// ioctlPtr is an ioctl whose argument is a structure that fits the request.
func ioctlPtr[T any](fd int, req uintptr, arg *T) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(arg)))
		if errno == 0 {
			return nil
		}
		if !errors.Is(errno, unix.EINTR) {
			return errno
		}
	}
}
