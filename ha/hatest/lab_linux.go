package hatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Lab is a bridge and the nodes on it. Node number n has 10.77.0.n/24 and fd77::n/64 on eth0; the client is number 200. Addresses to share
// are taken from the rest, by Shared.
type Lab struct {
	Client *Node

	nodes  []*Node
	hub    *thread
	kernel *netlink.Handle // of the hub's namespace
	bridge netlink.Link
	dir    string
	close  []func() error // in the reverse order
}

// clientNumber is the client's last number.
const clientNumber = 200

// Shared gives the n-th address (0–9) that no node has: an IPv4 one, and an IPv6 one.
func Shared(n int) (v4, v6 netip.Addr) {
	last := byte(240 + n)
	return netip.AddrFrom4([4]byte{10, 77, 0, last}), netip.AddrFrom16([16]byte{0xfd, 0x77, 15: last})
}

// New makes a lab with the named nodes, and a client. What programs in it write stands below dir. Close ends it.
func New(dir string, names ...string) (l *Lab, err error) {
	l = &Lab{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.hub, err = newThread(); err != nil {
		return l, err
	}
	l.atEnd(func() error { l.hub.end(); return nil })
	if l.kernel, err = handleOn(l.hub); err != nil {
		return l, err
	}
	l.atEnd(func() error { l.kernel.Close(); return nil })
	if err := l.hub.do(mute); err != nil {
		return l, fmt.Errorf("prepare the bridge's namespace: %w", err)
	}
	if l.bridge, err = l.addBridge("br0"); err != nil {
		return l, err
	}
	for i, name := range names {
		n, err := l.addNode(name, i+1)
		if err != nil {
			return l, fmt.Errorf("add node %q: %w", name, err)
		}
		l.nodes = append(l.nodes, n)
	}
	if l.Client, err = l.addNode("client", clientNumber); err != nil {
		return l, fmt.Errorf("add the client: %w", err)
	}
	return l, l.settle()
}

// settle waits until frames pass on every cable: the kernel takes up to a second to notice a carrier, and drops them until then.
func (l *Lab) settle() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var failed error
	ready := func(h *netlink.Handle, link netlink.Link) bool {
		now, err := h.LinkByIndex(link.Attrs().Index)
		if err != nil {
			failed = err
			return false
		}
		return now.Attrs().OperState == netlink.OperUp
	}
	for _, n := range append(l.Nodes(), l.Client) {
		if err := until(ctx, func() bool { return failed != nil || ready(l.kernel, n.port) && ready(n.Kernel, n.eth0) }); err != nil || failed != nil {
			return fmt.Errorf("wait for the cable of %s: %w", n.Name, cmp.Or(failed, err))
		}
	}
	return nil
}

// TB is what Start needs of a test.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	TempDir() string
}

// Start is New for a test: the lab ends with it.
func Start(t TB, names ...string) *Lab {
	t.Helper()
	l, err := New(t.TempDir(), names...)
	if err != nil {
		t.Fatalf("start a lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// Close kills whatever runs in the lab and removes it.
func (l *Lab) Close() error {
	var errs []error
	for _, f := range slices.Backward(l.close) {
		errs = append(errs, f())
	}
	l.close = nil
	return errors.Join(errs...)
}

func (l *Lab) atEnd(f func() error) { l.close = append(l.close, f) }

// Node gives the node of that name, which must be one of New's.
func (l *Lab) Node(name string) *Node {
	for _, n := range l.nodes {
		if n.Name == name {
			return n
		}
	}
	panic(fmt.Sprintf("no node %q in the lab", name))
}

// Nodes gives the nodes without the client.
func (l *Lab) Nodes() []*Node { return slices.Clone(l.nodes) }

func (l *Lab) addBridge(name string) (netlink.Link, error) {
	off := false
	if err := l.kernel.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, MulticastSnooping: &off}); err != nil {
		return nil, fmt.Errorf("add bridge %s: %w", name, err)
	}
	br, err := l.kernel.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", name, err)
	}
	if err := l.kernel.LinkSetUp(br); err != nil {
		return nil, fmt.Errorf("set bridge %s up: %w", name, err)
	}
	return br, nil
}

// addNode makes a namespace with eth0 in it, whose other end is a port of the bridge.
func (l *Lab) addNode(name string, number int) (*Node, error) {
	n := &Node{Name: name, Interface: "eth0", number: number, lab: l, dir: l.dir + "/" + name}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if n.thread, err = newThread(); err != nil {
		return nil, err
	}
	l.atEnd(func() error { n.thread.end(); return nil })
	var ns netns.NsHandle
	if err := n.Do(func() (err error) {
		if err := quiet(); err != nil {
			return err
		}
		ns, err = netns.Get()
		return err
	}); err != nil {
		return nil, fmt.Errorf("prepare the namespace: %w", err)
	}
	l.atEnd(ns.Close)
	n.ns = ns
	if n.Kernel, err = handleOn(n.thread); err != nil {
		return nil, err
	}
	l.atEnd(func() error { n.Kernel.Close(); return nil })
	if err := n.plug(ns); err != nil {
		return nil, err
	}
	l.atEnd(n.KillAll)
	return n, n.serveEcho()
}

// plug makes the cable between the bridge and the node.
func (n *Node) plug(ns netns.NsHandle) error {
	n.MAC = net.HardwareAddr{0x02, 0, 0, 0x77, 0, byte(n.number)}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "to-" + fmt.Sprint(n.number), MasterIndex: n.lab.bridge.Attrs().Index},
		PeerName:  n.Interface, PeerHardwareAddr: n.MAC, PeerNamespace: netlink.NsFd(ns),
	}
	if err := n.lab.kernel.LinkAdd(veth); err != nil {
		return fmt.Errorf("add cable: %w", err)
	}
	var err error
	if n.port, err = n.lab.kernel.LinkByName(veth.Name); err != nil {
		return fmt.Errorf("find cable: %w", err)
	}
	if n.eth0, err = n.Kernel.LinkByName(n.Interface); err != nil {
		return fmt.Errorf("find %s: %w", n.Interface, err)
	}
	lo, err := n.Kernel.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	n.Addr = netip.AddrFrom4([4]byte{10, 77, 0, byte(n.number)})
	n.Addr6 = netip.AddrFrom16([16]byte{0xfd, 0x77, 15: byte(n.number)})
	return errors.Join(n.lab.kernel.LinkSetUp(n.port), n.Kernel.LinkSetUp(lo), n.Kernel.LinkSetUp(n.eth0),
		n.AddAddr(netip.PrefixFrom(n.Addr, 24)), n.AddAddr(netip.PrefixFrom(n.Addr6, 64)))
}

// Cable joins two nodes by a second network of their own, eth1, as DRBD's is; it ends with the lab.
func (l *Lab) Cable(a, b *Node) error {
	if err := a.Kernel.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "eth1", PeerNamespace: netlink.NsFd(b.ns)}); err != nil {
		return fmt.Errorf("add the cable of %s and %s: %w", a.Name, b.Name, err)
	}
	for _, n := range []*Node{a, b} {
		eth1, err := n.Kernel.LinkByName("eth1")
		if err != nil {
			return fmt.Errorf("find eth1 of %s: %w", n.Name, err)
		}
		if err := n.Kernel.AddrAdd(eth1, address(netip.PrefixFrom(n.CableAddr(), 24))); err != nil {
			return fmt.Errorf("add %s to eth1 of %s: %w", n.CableAddr(), n.Name, err)
		}
		if err := n.Kernel.LinkSetUp(eth1); err != nil {
			return fmt.Errorf("set eth1 of %s up: %w", n.Name, err)
		}
	}
	return nil
}

// CableAddr is the node's own address on a Cable.
func (n *Node) CableAddr() netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 77, byte(n.number)}) }

// handleOn opens a netlink socket in the thread's namespace.
func handleOn(t *thread) (h *netlink.Handle, err error) {
	err = t.do(func() (err error) { h, err = netlink.NewHandle(); return err })
	return h, err
}

// Until waits until fact holds, and asks every 2 ms; the error of ctx says that it never did.
func Until(ctx context.Context, fact func() bool) error {
	return until(ctx, fact)
}
