package netbridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

const tunDevice = "/dev/net/tun"

// maxQueues is the kernel's own bound on the queues of a TAP (MAX_TAP_QUEUES).
const maxQueues = 256

// OpenTAP makes a TAP, a port of its bridge and up, and gives one file per queue, close-on-exec and blocking. The TAP lives as
// long as one of the files is open in any process. It carries the virtio-net header, whose size QEMU sets.
//
// *InUseError: the name is taken; *NotBridgeError: the bridge is something else; ENODEV: no such bridge; *UnsupportedError: the
// kernel cannot do what t asks. It has to be called in the network namespace that NewKernel was called in. On error nothing is left.
func (k *LinuxKernel) OpenTAP(ctx context.Context, t TAP) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
			files, err = nil, fmt.Errorf("create tap %q: %w", t.Name, err)
		}
	}()
	if err := t.check(); err != nil {
		return nil, err
	}
	br, err := k.linkByName(ctx, t.Bridge)
	if err != nil {
		return nil, fmt.Errorf("bridge %q: %w", t.Bridge, err)
	}
	if br.Kind != KindBridge {
		return nil, &NotBridgeError{Name: t.Bridge, Link: br.Link}
	}
	if t.tagged() && !br.VLANFiltering {
		return nil, &NoVLANsError{Bridge: t.Bridge}
	}
	if t.MTU == 0 {
		t.MTU = br.MTU
	}
	if files, err = k.openQueues(ctx, t); err != nil {
		return files, err
	}
	return files, k.configureTAP(ctx, t, br.Link)
}

// openQueues opens the TAP's queues; the first makes it. The files that were opened come back with an error too.
func (k *LinuxKernel) openQueues(ctx context.Context, t TAP) ([]*os.File, error) {
	runtime.LockOSThread() // the device is made in the namespace of the thread that opens it
	defer runtime.UnlockOSThread()
	if ns, err := threadNetns(); err != nil || ns != k.netns {
		return nil, errors.Join(err, errors.New("called outside the network namespace of the handle"))
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if t.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	var files []*os.File
	for i := range t.Queues {
		fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return files, &tunError{err}
		}
		files = append(files, os.NewFile(uintptr(fd), "tap:"+t.Name))
		req, err := unix.NewIfreq(t.Name)
		if err != nil {
			return files, err
		}
		// Exclusive: without it the first queue would join whatever TAP has the name.
		if i == 0 {
			req.SetUint16(flags | unix.IFF_TUN_EXCL)
		} else {
			req.SetUint16(flags)
		}
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		if i == 0 && errors.Is(err, unix.EBUSY) {
			return files, k.inUse(ctx, t.Name)
		}
		if err != nil {
			return files, fmt.Errorf("attach queue %d: %w", i, err)
		}
		if i == 0 {
			if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, int(t.Owner)); err != nil {
				return files, fmt.Errorf("set owner: %w", err)
			}
		}
	}
	return files, nil
}

// inUse says who has the name of a TAP.
func (k *LinuxKernel) inUse(ctx context.Context, name string) error {
	l, err := k.linkByName(ctx, name)
	if err != nil { // it may have gone in this moment
		return fmt.Errorf("the name was in use: %w", errors.Join(unix.EBUSY, err))
	}
	return &InUseError{Name: name, Link: l.Link}
}

// configureTAP gives a TAP its mark, addresses and MTU, makes it a port with the guest's limits, and only then brings it up: not one
// frame passes before.
func (k *LinuxKernel) configureTAP(ctx context.Context, t TAP, br Link) error {
	mac := hostMAC(t)
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(t.Alias)),
		nl.NewRtAttr(unix.IFLA_ADDRESS, mac[:]),
		nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(t.MTU))),
	}
	err := k.setLink(ctx, t.Name, 0, 0, append(attrs, noLinkLocal())...)
	if errors.Is(err, unix.EAFNOSUPPORT) { // no IPv6 on this host, or none on this MTU: then there is nothing to switch off
		err = k.setLink(ctx, t.Name, 0, 0, attrs...)
	}
	if err != nil {
		return fmt.Errorf("set alias, mac and mtu %d: %w", t.MTU, err)
	}
	l, err := k.linkByName(ctx, t.Name)
	if err != nil {
		return err
	}
	// Until the owner was set, any user of the host could have taken a queue.
	if t.Queues > 1 && l.Queues != t.Queues && l.Queues != 0 { // 0: a kernel before 4.17 does not tell
		return fmt.Errorf("it has %d queues instead of %d: another process has attached to it", l.Queues, t.Queues)
	}
	return k.join(ctx, t, l.Index, br)
}

// hostMAC is the address of the host's end, which no frame carries. It begins with fe, higher than any real NIC's: a bridge
// of the admin's that has no address of its own takes the lowest of its ports', and must not change it for a guest.
func hostMAC(t TAP) units.MAC {
	mac := units.DeriveMAC("tap", t.Alias)
	mac[0] = 0xfe
	return mac
}

// noLinkLocal is the attribute that keeps IPv6 from giving the interface an address: it is the guest's cable, no place for
// the host to be reached at.
func noLinkLocal() *nl.RtAttr {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	inet6 := nl.NewRtAttr(unix.AF_INET6, nil)
	inet6.AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{nl.IN6_ADDR_GEN_MODE_NONE})
	spec.AddChild(inet6)
	return spec
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// tunError is a TUN driver that cannot be reached.
type tunError struct{ err error }

func (e *tunError) Error() string { return "open " + tunDevice + ": " + e.err.Error() }

func (e *tunError) Unwrap() error { return e.err }

// Hint is what to type next.
func (e *tunError) Hint() string {
	if errors.Is(e.err, fs.ErrPermission) {
		return "run kvmctl as root"
	}
	return "modprobe tun"
}
