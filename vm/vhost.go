package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// NoVHostError says why the kernel cannot move a NIC's frames, which the guest insists on.
type NoVHostError struct {
	NIC int
	Err error
}

func (e *NoVHostError) Error() string {
	return fmt.Sprintf("nic %d has vhost = \"on\": %v", e.NIC, e.Err)
}

// Unwrap gives the reason.
func (e *NoVHostError) Unwrap() error { return e.Err }

// Hint says what to type, or what works instead.
func (e *NoVHostError) Hint() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return "run kvmctl as root"
	}
	return "modprobe vhost_net, or vhost = \"auto\" for that [[nic]]"
}

// chooseVHost gives the spec with vhost decided for each NIC: on or off.
func (h *Host) chooseVHost(spec *Spec, accel Accel) (*Spec, error) {
	if len(spec.NICs) == 0 {
		return spec, nil
	}
	chosen := *spec
	chosen.NICs = slices.Clone(spec.NICs)
	for i := range chosen.NICs {
		n := &chosen.NICs[i]
		wanted := n.VHost == VHostOn || n.VHost == VHostAuto && accel == AccelKVM && n.Model == "virtio"
		if !wanted {
			n.VHost = VHostOff
			continue
		}
		err := h.canVHost()
		switch {
		case err == nil:
			n.VHost = VHostOn
		case n.VHost == VHostOn:
			return nil, &NoVHostError{i, err}
		default:
			n.VHost = VHostOff
		}
	}
	return &chosen, nil
}

func (h *Host) canVHost() error {
	if h.VHostDevice == "" {
		return errors.New("this host has no vhost-net")
	}
	if err := unix.Access(h.VHostDevice, unix.R_OK|unix.W_OK); err != nil {
		return &fs.PathError{Op: "open", Path: h.VHostDevice, Err: err}
	}
	return nil
}

// openVHost opens the kernel's end of each queue that it is to serve.
func (s *starting) openVHost() error {
	for i, n := range s.spec.NICs {
		if n.VHost != VHostOn {
			continue
		}
		for q := range n.Queues {
			f, err := os.OpenFile(s.h.VHostDevice, os.O_RDWR, 0)
			if err != nil {
				return fmt.Errorf("nic %d: vhost: %w", i, err)
			}
			s.files.byName[fdVHost(i, q)] = f
		}
	}
	return nil
}
