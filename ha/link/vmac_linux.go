package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kvmctl/ha/carp"
)

// EnsureVMAC gives the name of a macvlan on the parent with the virtual host's MAC, which is made if it is not there, and is up. Everything
// is of the calling thread's network namespace. EEXIST: something else has its name.
//
// As in keepalived (doc/NOTE_vrrp_vmac.txt): the macvlan is private; the parent answers ARP only for its own addresses, or it would give its
// own MAC for those of the macvlan, and it asks as itself, or its question would tell the neighbour the same; and packets may come in there although the way back is the parent's.
func EnsureVMAC(ctx context.Context, parent string, vhid uint8) (name string, err error) {
	name = VMACName(vhid)
	wrap := func(err error) error { return fmt.Errorf("make %s on %s: %w", name, parent, err) }
	ours, err := OwnVMACs(ctx)
	if err != nil {
		return "", wrap(err)
	}
	v := VMAC{Interface: name, Parent: parent, VHID: vhid}
	there := false
	for _, o := range ours {
		if o.Parent == parent {
			v.arpIgnore, v.arpAnnounce = o.arpIgnore, o.arpAnnounce // the first of ours found it so
		}
		if o.Interface == name && o.Parent == parent {
			there = true
		}
	}
	if v.arpIgnore == "" {
		if v.arpIgnore, err = readSysctl("ipv4", parent, "arp_ignore"); err != nil {
			return "", wrap(err)
		}
		if v.arpAnnounce, err = readSysctl("ipv4", parent, "arp_announce"); err != nil {
			return "", wrap(err)
		}
	}
	if !there {
		if err := createVMAC(v); err != nil {
			return "", wrap(err)
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, RemoveVMAC(context.WithoutCancel(ctx), vhid))
			}
		}()
	}
	if err := settleVMAC(v); err != nil {
		return "", wrap(err)
	}
	return name, nil
}

// createVMAC makes it, down and without an address.
func createVMAC(v VMAC) error {
	up, err := netlink.LinkByName(v.Parent)
	if err != nil {
		return err
	}
	mac := carp.VirtualMAC(v.VHID)
	attrs := netlink.LinkAttrs{Name: v.Interface, ParentIndex: up.Attrs().Index, HardwareAddr: net.HardwareAddr(mac[:]), Alias: v.alias()}
	if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PRIVATE}); err != nil {
		return err
	}
	link, err := netlink.LinkByName(v.Interface)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetAlias(link, v.alias()); err != nil {
		return errors.Join(err, netlink.LinkDel(link)) // without it nobody would know whose it is
	}
	return nil
}

// settleVMAC sets what the kernel does there, then brings it up.
func settleVMAC(v VMAC) error {
	for _, s := range []struct{ family, name, key, value string }{
		{"ipv4", v.Parent, "arp_ignore", "1"},
		{"ipv4", v.Parent, "arp_announce", "2"},
		{"ipv4", v.Interface, "arp_ignore", "1"},
		{"ipv4", v.Interface, "arp_filter", "0"},
		{"ipv4", v.Interface, "rp_filter", "2"}, // loose: what holds is the greater of this and "all"
		{"ipv6", v.Interface, "accept_ra", "0"},
		{"ipv6", v.Interface, "autoconf", "0"},
		{"ipv6", v.Interface, "addr_gen_mode", "1"}, // none
	} {
		err := writeSysctl(s.family, s.name, s.key, s.value)
		if errors.Is(err, os.ErrNotExist) && s.family == "ipv6" {
			continue // no IPv6 here
		}
		if err != nil {
			return err
		}
	}
	link, err := netlink.LinkByName(v.Interface)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// RemoveVMAC removes a virtual host's macvlan, with its addresses, and lets the parent answer ARP as before, when it was the last one. That it
// is not there is as good.
func RemoveVMAC(ctx context.Context, vhid uint8) error {
	name := VMACName(vhid)
	ours, err := OwnVMACs(ctx)
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	for _, v := range ours {
		if v.Interface != name {
			continue
		}
		siblings := 0
		for _, o := range ours {
			if o.Parent == v.Parent {
				siblings++
			}
		}
		if siblings == 1 { // before the macvlan, which alone knows what to put back
			for key, was := range map[string]string{"arp_ignore": v.arpIgnore, "arp_announce": v.arpAnnounce} {
				if err := writeSysctl("ipv4", v.Parent, key, was); err != nil && !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("remove %s: %w", name, err)
				}
			}
		}
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if _, gone := errors.AsType[netlink.LinkNotFoundError](err); err != nil && !gone && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

// OwnVMACs gives the macvlans of ours, by their alias.
func OwnVMACs(ctx context.Context) ([]VMAC, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	var links []netlink.Link
	var err error = netlink.ErrDumpInterrupted
	for range dumpTries {
		if links, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var ours []VMAC
	for _, l := range links {
		v, ok := parseVMACAlias(l.Attrs().Alias)
		if _, macvlan := l.(*netlink.Macvlan); ok && macvlan && v.Interface == l.Attrs().Name {
			v.Parent = names[l.Attrs().ParentIndex]
			ours = append(ours, v)
		}
	}
	return ours, nil
}

func sysctl(family, name, key string) string {
	return filepath.Join("/proc/sys/net", family, "conf", name, key)
}

func readSysctl(family, name, key string) (string, error) {
	b, err := os.ReadFile(sysctl(family, name, key))
	return strings.TrimSpace(string(b)), err
}

func writeSysctl(family, name, key, value string) error {
	return os.WriteFile(sysctl(family, name, key), []byte(value), 0)
}
