package hatest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Node is a machine of the lab: a network namespace with lo and eth0.
type Node struct {
	Name        string
	Interface   string // "eth0"
	MAC         net.HardwareAddr
	Addr, Addr6 netip.Addr
	Kernel      *netlink.Handle // its own network; any goroutine may use it

	lab        *Lab
	number     int
	dir        string
	thread     *thread
	ns         netns.NsHandle
	port, eth0 netlink.Link
	serial     int // of its programs' files
}

// Do runs f on a thread of this node's namespace and waits for it: sockets that f opens and programs that it starts belong to the node. f
// must be short, everything else that is done on the node waits for it.
func (n *Node) Do(f func() error) error { return n.thread.do(f) }

// Dir is a directory for the node's files.
func (n *Node) Dir() string { return n.dir }

// AddAddr gives eth0 an address for ever.
func (n *Node) AddAddr(p netip.Prefix) error {
	if err := n.Kernel.AddrAdd(n.eth0, address(p)); err != nil {
		return fmt.Errorf("add address %s to %s: %w", p, n.Name, err)
	}
	return nil
}

// DelAddr takes an address from eth0.
func (n *Node) DelAddr(p netip.Prefix) error {
	if err := n.Kernel.AddrDel(n.eth0, address(p)); err != nil {
		return fmt.Errorf("delete address %s from %s: %w", p, n.Name, err)
	}
	return nil
}

func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

// Holds reports whether any interface of the node has the address.
func (n *Node) Holds(addr netip.Addr) (bool, error) {
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	all, err := n.Kernel.AddrList(nil, family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // then it has the list, too
		return false, fmt.Errorf("list addresses of %s: %w", n.Name, err)
	}
	for _, a := range all {
		if a.IP.Equal(addr.AsSlice()) {
			return true, nil
		}
	}
	return false, nil
}

// Unplug pulls the cable: eth0 loses its carrier.
func (n *Node) Unplug() error { return n.lab.kernel.LinkSetDown(n.port) }

// Plug is the inverse of Unplug.
func (n *Node) Plug() error { return n.lab.kernel.LinkSetUp(n.port) }

// Cut parts the node from the others; its carrier stays.
func (n *Node) Cut() error { return n.lab.kernel.LinkSetNoMaster(n.port) }

// Join is the inverse of Cut.
func (n *Node) Join() error { return n.lab.kernel.LinkSetMaster(n.port, n.lab.bridge) }

// Part parts the nodes from all others, but not from each other: the cable between two switches is cut. Join ends it for each.
func (l *Lab) Part(nodes ...*Node) error {
	other, err := l.kernel.LinkByName("br1")
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		other, err = l.addBridge("br1")
	}
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := l.kernel.LinkSetMaster(n.port, other); err != nil {
			return fmt.Errorf("move %s to br1: %w", n.Name, err)
		}
	}
	return nil
}

// Apart lets no frame pass between the nodes, or lets them pass again; all others reach each of them.
func (l *Lab) Apart(on bool, nodes ...*Node) error {
	for _, n := range nodes {
		if err := l.kernel.LinkSetIsolated(n.port, on); err != nil {
			return fmt.Errorf("isolate the port of %s, %t: %w", n.Name, on, err)
		}
	}
	return nil
}

// Crash is the end of a machine: no frame comes out of it any more, its programs are gone, and so is every address but its own. Join brings
// it back to the others.
func (n *Node) Crash() error {
	if err := errors.Join(n.Cut(), n.KillAll()); err != nil {
		return fmt.Errorf("crash %s: %w", n.Name, err)
	}
	all, err := n.Kernel.AddrList(n.eth0, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses of %s: %w", n.Name, err)
	}
	for _, a := range all {
		if a.IP.IsLinkLocalUnicast() || a.IP.Equal(n.Addr.AsSlice()) || a.IP.Equal(n.Addr6.AsSlice()) {
			continue
		}
		if err := n.Kernel.AddrDel(n.eth0, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("delete address %s from %s: %w", a.IP, n.Name, err)
		}
	}
	return nil
}

// KillAll kills every process in the node's namespace and waits until there is none.
func (n *Node) KillAll() error {
	var own unix.Stat_t
	if err := unix.Fstat(int(n.ns), &own); err != nil {
		return fmt.Errorf("identify the namespace of %s: %w", n.Name, err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left, err := processesIn(own)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL) // one that is gone by now is what is wanted
		}
	}
	return fmt.Errorf("kill the programs of %s: %w", n.Name, os.ErrDeadlineExceeded)
}

// processesIn gives the processes in a network namespace. A zombie is in none.
func processesIn(ns unix.Stat_t) ([]int, error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+e.Name()+"/ns/net", &st) == nil && st.Dev == ns.Dev && st.Ino == ns.Ino {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// quiet keeps a new namespace from asking whether its IPv6 addresses are in use, for a second each, before any interface is made.
func quiet() error {
	const dad = "/proc/sys/net/ipv6/conf/default/accept_dad"
	if err := os.WriteFile(dad, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mute keeps the bridge and its ports from speaking IPv6 themselves: a switch says nothing.
func mute() error {
	const off = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	if err := os.WriteFile(off, []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
