package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

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

// PrepareFrom is Prepare for a guest that begins where from says, as StartFrom does it; it refuses what that refuses.
func (h *Host) PrepareFrom(ctx context.Context, spec *Spec, from Origin) (*Prepared, error) {
	if err := h.CheckHold(spec.Name); err != nil && !errors.Is(err, fs.ErrPermission) { // who may not look is told of the rest
		return nil, err
	}
	p, before, err := h.prepareFrom(ctx, spec, from)
	defer before.close()
	if file := h.SavedIn(spec.Name); errors.Is(err, fs.ErrPermission) && file != "" {
		if p, err = h.Prepare(ctx, spec); err == nil {
			p.Notes = append(p.Notes, "goes on from "+file+", which only root may read: this is how it would boot")
		}
		return p, err
	}
	switch {
	case err != nil:
		return nil, err
	case before != nil && before.header != nil:
		p.Notes = append(p.Notes, fmt.Sprintf("goes on where it was, from %s, saved on %s by %s", before.name,
			before.header.Time.Local().Format(time.DateTime), before.header.By))
	case h.discards(spec.Name, from):
		p.Notes = append(p.Notes, "boots as after a power cut, and what was saved in "+h.SavedIn(spec.Name)+" is thrown away")
	}
	return p, nil
}

// prepareFrom works out a start and finds what it goes on from, which the caller closes, also after an error; nil: the guest boots.
func (h *Host) prepareFrom(ctx context.Context, spec *Spec, from Origin) (*Prepared, *pastState, error) {
	before, err := h.origin(spec, from)
	if err != nil {
		return nil, nil, err
	}
	p, err := h.prepare(ctx, spec, before.argv())
	if err == nil {
		err = h.fits(spec, p, before)
	}
	return p, before, err
}

// discards tells whether a start throws away what was saved of a guest.
func (h *Host) discards(name string, from Origin) bool {
	return from.Discard && from.File == "" && h.SavedIn(name) != ""
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
