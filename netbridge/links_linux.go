package netbridge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// dumpTries bounds how often a list is read again because it changed while it was read.
const dumpTries = 20

// Links implements Kernel.
func (k *LinuxKernel) Links(ctx context.Context, names ...string) ([]Link, error) {
	var links []Link
	var err error
	if len(names) == 0 {
		links, err = k.allLinks(ctx)
	} else {
		links, err = k.namedLinks(ctx, names)
	}
	return links, wrap(err, "list interfaces")
}

func (k *LinuxKernel) allLinks(ctx context.Context) ([]Link, error) {
	links, err := k.dumpLinks(ctx)
	if err != nil {
		return nil, err
	}
	addrs, err := k.addresses(ctx, 0)
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	out := make([]Link, len(links))
	for i, l := range links {
		l.Link.Addresses = addrs[l.Index]
		l.Link.Master = names[l.master]
		out[i] = l.Link
	}
	return out, nil
}

func (k *LinuxKernel) namedLinks(ctx context.Context, names []string) ([]Link, error) {
	var out []Link
	for _, name := range names {
		l, err := k.linkByName(ctx, name)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o Link) bool { return o.Index == l.Index }) {
			continue // two names of one interface
		}
		addrs, err := k.addresses(ctx, l.Index)
		if errors.Is(err, unix.ENODEV) {
			continue // it went away in between
		}
		if err != nil {
			return nil, err
		}
		l.Link.Addresses = addrs[l.Index]
		if l.master != 0 {
			m, err := k.link(ctx, int32(l.master))
			if err != nil && !errors.Is(err, unix.ENODEV) {
				return nil, err
			}
			l.Link.Master = m.Name
		}
		out = append(out, l.Link)
	}
	return out, nil
}

// rawLink is a Link whose master is still a number.
type rawLink struct {
	Link
	master int
}

func (k *LinuxKernel) linkByName(ctx context.Context, name string) (rawLink, error) {
	return k.link(ctx, 0, nameAttr(name))
}

// link looks one interface up; ENODEV when there is none.
func (k *LinuxKernel) link(ctx context.Context, index int32, attrs ...nl.NetlinkRequestData) (rawLink, error) {
	if err := context.Cause(ctx); err != nil {
		return rawLink{}, err
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = index
	req := k.request(unix.RTM_GETLINK, 0, msg)
	for _, a := range attrs {
		req.AddData(a)
	}
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return rawLink{}, err
	}
	if len(msgs) != 1 {
		return rawLink{}, fmt.Errorf("%d answers to a question about one interface", len(msgs))
	}
	return parseLink(msgs[0])
}

// portsByMaster lists the ports of the interface with that index.
func (k *LinuxKernel) portsByMaster(ctx context.Context, index int) ([]Link, error) {
	links, err := k.dumpLinks(ctx, nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(index))))
	var ports []Link
	for _, l := range links {
		if l.master == index {
			ports = append(ports, l.Link)
		}
	}
	return ports, err
}

func (k *LinuxKernel) dumpLinks(ctx context.Context, filter ...*nl.RtAttr) ([]rawLink, error) {
	msgs, err := retryDump(ctx, func() ([][]byte, error) {
		req := k.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, nl.NewIfInfomsg(unix.AF_UNSPEC))
		for _, a := range filter {
			req.AddData(a)
		}
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	})
	if err != nil {
		return nil, err
	}
	links := make([]rawLink, 0, len(msgs))
	for _, m := range msgs {
		l, err := parseLink(m)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	return links, nil
}

// addresses lists addresses by interface, of one interface or, with index 0, of all.
func (k *LinuxKernel) addresses(ctx context.Context, index int) (map[int][]netip.Prefix, error) {
	msgs, err := retryDump(ctx, func() ([][]byte, error) {
		msg := nl.NewIfAddrmsg(unix.AF_UNSPEC)
		msg.Index = uint32(index)
		return k.request(unix.RTM_GETADDR, unix.NLM_F_DUMP, msg).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	})
	if err != nil {
		return nil, err
	}
	addrs := map[int][]netip.Prefix{}
	for _, m := range msgs {
		i, p, err := parseAddress(m)
		if err != nil {
			return nil, err
		}
		if p.IsValid() {
			addrs[i] = append(addrs[i], p)
		}
	}
	return addrs, nil
}

// retryDump reads a list until it did not change while it was read.
func retryDump(ctx context.Context, dump func() ([][]byte, error)) ([][]byte, error) {
	for range dumpTries {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		msgs, err := dump()
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			return msgs, err
		}
	}
	return nil, fmt.Errorf("it changed during each of %d readings: %w", dumpTries, nl.ErrDumpInterrupted)
}

func parseLink(m []byte) (rawLink, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return rawLink{}, fmt.Errorf("short message about an interface: %d bytes", len(m))
	}
	got, err := netlink.LinkDeserialize(nil, m)
	if err != nil {
		return rawLink{}, fmt.Errorf("read message about an interface: %w", err)
	}
	a := got.Attrs()
	l := rawLink{
		Link: Link{
			Index:    a.Index,
			Name:     a.Name,
			AltNames: a.AltNames,
			Alias:    a.Alias,
			Kind:     got.Type(),
			MTU:      a.MTU,
			Up:       a.RawFlags&unix.IFF_UP != 0,
			Running:  a.RawFlags&unix.IFF_RUNNING != 0,
		},
		master: a.MasterIndex,
	}
	if len(a.HardwareAddr) == len(l.MAC) { // tunnels have other lengths, or none
		l.MAC = units.MAC(a.HardwareAddr)
	}
	if err := l.readInfo(m); err != nil {
		return rawLink{}, err
	}
	if t, ok := got.(*netlink.Tuntap); ok {
		l.Kind, l.Queues = KindTUN, t.Queues
	}
	return l, nil
}

func parseAddress(m []byte) (index int, p netip.Prefix, err error) {
	if len(m) < unix.SizeofIfAddrmsg {
		return 0, p, fmt.Errorf("short message about an address: %d bytes", len(m))
	}
	msg := nl.DeserializeIfAddrmsg(m)
	attrs, err := nl.ParseRouteAttr(m[msg.Len():])
	if err != nil {
		return 0, p, fmt.Errorf("read message about an address: %w", err)
	}
	var ip netip.Addr
	for _, a := range attrs {
		// Both come with IPv4, where they differ on a point-to-point link: LOCAL is the host's own. IPv6 has ADDRESS only.
		if a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !ip.IsValid() {
			if got, ok := netip.AddrFromSlice(a.Value); ok {
				ip = got
			}
		}
	}
	return int(msg.Index), netip.PrefixFrom(ip, int(msg.Prefixlen)), nil
}
