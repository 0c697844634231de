package vm

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"kvmctl/vm/accel"
)

// Prepared is a start worked out but not begun: what a dry run prints.
type Prepared struct {
	ABI    ABI
	Wiring *Wiring
	Target Target
	QEMU   QEMUVersion
	Argv   []string
	Notes  []string
	groups []int
	old    *ABI
	spec   *Spec // with the choices made that "auto" leaves open
}

// Prepare works out a guest's start without touching the guest: nothing is made but caches of facts about the host.
func (h *Host) Prepare(ctx context.Context, spec *Spec) (*Prepared, error) {
	return h.prepare(ctx, spec, nil)
}

// prepare is Prepare for a machine of the size that a command line gives, whatever memory and CPUs the file asks for; nil: for a new one.
func (h *Host) prepare(ctx context.Context, spec *Spec, argv []string) (*Prepared, error) {
	version, err := FindQEMU(ctx, h.QEMU, h.QEMUCache())
	if err != nil {
		return nil, err
	}
	p := &Prepared{QEMU: version}
	if p.old, err = loadABI(h.ABILock(spec.Name)); err != nil {
		return nil, err
	}
	if argv != nil {
		z, err := sizeOf(argv)
		if err != nil {
			return nil, err
		}
		spec = spec.sized(z.Memory, z.CPUs)
	}
	if p.ABI, err = Pin(h.withHeadroom(p.old, spec.Name, argv), spec, version.Machine(spec.Machine), newUUID()); err != nil {
		return nil, err
	}
	layers, err := chains(ctx, spec)
	if err != nil {
		return nil, err
	}
	p.Target = Target{QEMU: h.QEMU, Pidfile: h.Pidfile(spec.Name)}
	if v := spec.VNC; v.Enabled && v.Auto && !v.Socket {
		p.Target.Display = h.loadVNCWish(spec.Name)
	}
	if err := h.chooseAccel(ctx, spec, p); err != nil {
		return nil, err
	}
	if spec, err = h.chooseVHost(spec, p.Target.Accel); err != nil {
		return nil, err
	}
	p.spec = spec
	p.Wiring = Wire(spec, layers)
	if v := spec.VNC; v.Enabled && !v.Socket && !v.Listen.IsLoopback() && v.PasswordFile == "" {
		p.Notes = append(p.Notes, fmt.Sprintf("its screen is open to anyone who can reach %v: set password_file under [vnc]", v.Listen))
	}
	p.Argv = Args(spec, &p.ABI, p.Wiring, p.Target)
	return p, nil
}

// NoKVMError says why KVM, which the guest insists on, cannot be used.
type NoKVMError struct{ Reason string }

func (e *NoKVMError) Error() string { return "KVM cannot be used: " + e.Reason }

// Hint says what works instead.
func (e *NoKVMError) Hint() string {
	return "`accel = \"auto\"` or \"tcg\" in vm.toml runs it by emulation, slowly"
}

// chooseAccel decides between KVM and TCG. KVM is believed only after it ran a loop in time.
func (h *Host) chooseAccel(ctx context.Context, spec *Spec, p *Prepared) error {
	p.Target.Accel = AccelTCG
	if spec.Accel == AccelTCG {
		return nil
	}
	v, err := accel.Cached(ctx, h.KVMCache(), h.KVMDevice)
	if err != nil && v.Cause == accel.Interrupted { // an answer that could not be kept is as good
		return fmt.Errorf("probe %s: %w", h.KVMDevice, err)
	}
	switch {
	case v.Usable:
		p.Target.Accel = AccelKVM
		if st, err := os.Stat(h.KVMDevice); err == nil {
			if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Gid != 0 {
				p.groups = []int{int(sys.Gid)}
			}
		}
	case spec.Accel == AccelKVM:
		return &NoKVMError{v.Reason}
	default:
		p.Notes = append(p.Notes, "runs by emulation (tcg), slowly: "+v.Reason)
	}
	return nil
}
