package netbridge_test

import (
	"net"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/netbridge"
	"kvmctl/netbridge/netbridgetest"
)

// world is the kernel in a network namespace of the test's own.
type world struct {
	*netbridge.LinuxKernel
	admin *netlink.Handle
}

// newWorld moves the test's goroutine into a fresh network namespace for good: the thread stays locked and ends with it.
func newWorld(t testing.TB) *world {
	t.Helper()
	testenv.Need(t, testenv.Netns)
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return worldHere(t)
}

// worldHere is the namespace that the calling thread is in.
func worldHere(t testing.TB) *world {
	t.Helper()
	k, err := netbridge.NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	admin, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	return &world{k, admin}
}

// Plant implements netbridgetest.World. A veth's other end is called like it with an x.
func (w *world) Plant(l netbridge.Link) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = l.Name, l.MTU
	if !l.MAC.IsZero() {
		a.HardwareAddr = net.HardwareAddr(l.MAC[:])
	}
	var link netlink.Link = &netlink.Veth{LinkAttrs: a, PeerName: l.Name + "x"}
	if l.Kind == netbridge.KindBridge {
		link = &netlink.Bridge{LinkAttrs: a}
	}
	if err := w.admin.LinkAdd(link); err != nil {
		return err
	}
	if l.Alias != "" {
		if err := w.admin.LinkSetAlias(link, l.Alias); err != nil {
			return err
		}
	}
	for _, p := range l.Addresses {
		ip := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := w.admin.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
			return err
		}
	}
	if l.Master != "" {
		br, err := w.admin.LinkByName(l.Master)
		if err != nil {
			return err
		}
		if err := w.admin.LinkSetMaster(link, br); err != nil {
			return err
		}
	}
	if l.Up {
		return w.admin.LinkSetUp(link)
	}
	return nil
}

// Pull implements netbridgetest.World.
func (w *world) Pull(name string) error {
	l, err := w.admin.LinkByName(name)
	if err != nil {
		return err
	}
	return w.admin.LinkDel(l)
}

func TestTheKernelKeepsTheContract(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	netbridgetest.RunContract(t, func(t *testing.T) netbridgetest.World { return newWorld(t) })
}

// mountSysfs gives the calling thread, which is locked, a mount namespace whose /sys shows its network namespace.
func mountSysfs(t testing.TB) {
	t.Helper()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}
