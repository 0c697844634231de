package netbridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes and flags of rtnetlink that are not in x/sys, or are there under other names (linux/if_addr.h, linux/rtnetlink.h).
const (
	ifaProto   = 11 // who made an address; since 5.18
	protoByLL  = 3  // IFAPROT_KERNEL_LL: the kernel, for an interface that came up
	rtaNHID    = 30
	rtaExpires = 23

	// What says how it is at the moment.
	addressMoods = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_OPTIMISTIC
	routeMoods   = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN | unix.RTNH_F_OFFLOAD | unix.RTM_F_CLONED | 0x4000 | 0x8000 | 0x20000000 // …, offload and trap
)

// Holdings implements Kernel.
func (k *LinuxKernel) Holdings(ctx context.Context, name string) ([]Holding, error) {
	hs, err := k.holdings(ctx, name)
	return hs, wrap(err, "list what %q has", name)
}

func (k *LinuxKernel) holdings(ctx context.Context, name string) ([]Holding, error) {
	l, err := k.linkByName(ctx, name)
	if err != nil {
		return nil, err
	}
	var out []Holding
	var networks []netip.Prefix // whose routes come and go with their address
	msg := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	msg.Index = uint32(l.Index)
	msgs, err := k.dump(ctx, unix.RTM_GETADDR, unix.RTM_NEWADDR, msg)
	for _, m := range msgs {
		h, network, ok := parseHeldAddress(m, l.Index, l.Name)
		if network.IsValid() {
			networks = append(networks, network)
		}
		if ok {
			out = append(out, h)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}
		msgs, err := k.dump(ctx, unix.RTM_GETROUTE, unix.RTM_NEWROUTE, req, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(l.Index))))
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) { // no IPv6 here
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			if h, ok := parseHeldRoute(m, l.Index, networks); ok {
				out = append(out, h)
			}
		}
	}
	msgs, err = k.dump(ctx, unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, &netlink.Ndmsg{}, nl.NewRtAttr(netlink.NDA_IFINDEX, nl.Uint32Attr(uint32(l.Index))))
	for _, m := range msgs {
		if h, ok := parseHeldNeighbour(m, l.Index); ok {
			out = append(out, h)
		}
	}
	return out, err
}

// dump reads a whole list.
func (k *LinuxKernel) dump(ctx context.Context, ask, answer int, data ...nl.NetlinkRequestData) ([][]byte, error) {
	return retryDump(ctx, func() ([][]byte, error) {
		return k.request(ask, unix.NLM_F_DUMP, data...).Execute(unix.NETLINK_ROUTE, uint16(answer))
	})
}

// attr is one attribute of a message, its type without flags.
type attr struct {
	typ   uint16
	value []byte
}

// attrs splits a message behind its header. Nothing that follows a broken attribute is believed.
func attrs(m []byte, header int) ([]attr, bool) {
	if len(m) < header {
		return nil, false
	}
	raw, err := nl.ParseRouteAttr(m[header:])
	if err != nil {
		return nil, false
	}
	out := make([]attr, len(raw))
	for i, a := range raw {
		out[i] = attr{a.Attr.Type, a.Value}
	}
	return out, true
}

func get(as []attr, typ uint16) []byte {
	for _, a := range as {
		if a.typ&nl.NLA_TYPE_MASK == typ {
			return a.value
		}
	}
	return nil
}

// u32 reads a number, 0 for what is none.
func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// assemble writes a message anew with some attributes left out.
func assemble(header []byte, as []attr, without ...uint16) []byte {
	out := bytes.Clone(header)
	for _, a := range as {
		if !slices.Contains(without, a.typ&nl.NLA_TYPE_MASK) {
			out = append(out, nl.NewRtAttr(int(a.typ), a.value).Serialize()...)
		}
	}
	return out
}

// parseHeldAddress reads an address; network is the one whose route the kernel made with it. ok is false for other interfaces' and
// for those that the kernel gives by itself: IPv6's link-local and temporary ones.
func parseHeldAddress(m []byte, index int, link string) (h Holding, network netip.Prefix, ok bool) {
	as, ok := attrs(m, unix.SizeofIfAddrmsg)
	i, p, err := parseAddress(m)
	if !ok || err != nil || i != index || !p.IsValid() {
		return h, network, false
	}
	header := bytes.Clone(m[:unix.SizeofIfAddrmsg])
	flags := uint32(header[2])
	if f := get(as, unix.IFA_FLAGS); len(f) == 4 {
		flags = u32(f)
	}
	if flags&unix.IFA_F_NOPREFIXROUTE == 0 {
		network = p.Masked()
	}
	v6 := header[0] == unix.AF_INET6
	proto := get(as, ifaProto)
	byKernel := len(proto) == 0 || proto[0] == protoByLL
	if v6 && (flags&unix.IFA_F_TEMPORARY != 0 || p.Addr().IsLinkLocalUnicast() && byKernel) {
		return h, network, false
	}
	flags &^= addressMoods
	if !v6 {
		flags &^= unix.IFA_F_SECONDARY // its place among the others says so
	}
	header[2] = byte(flags)
	binary.NativeEndian.PutUint32(header[4:], 0)
	h = Holding{Kind: KindAddress, Text: p.String(), Valid: Forever, Preferred: Forever}
	if c := get(as, unix.IFA_CACHEINFO); len(c) >= 8 { // struct ifa_cacheinfo
		h.Preferred, h.Valid = u32(c), u32(c[4:])
	}
	drop := []uint16{unix.IFA_CACHEINFO, unix.IFA_FLAGS}
	if label := string(bytes.TrimRight(get(as, unix.IFA_LABEL), "\x00")); label == link || strings.HasPrefix(label, link+":") {
		h.Label = strings.TrimPrefix(label, link)
		drop = append(drop, unix.IFA_LABEL)
	}
	h.Raw = append(assemble(header, as, drop...), nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)).Serialize()...)
	return h, network, true
}

// parseHeldRoute reads a route that leads over the interface; ok is false for those that the kernel makes by itself: for its own
// addresses, and for the networks of addresses.
func parseHeldRoute(m []byte, index int, networks []netip.Prefix) (h Holding, ok bool) {
	as, ok := attrs(m, unix.SizeofRtMsg)
	if !ok {
		return h, false
	}
	header := bytes.Clone(m[:unix.SizeofRtMsg]) // struct rtmsg
	family, protocol, typ, flags := header[0], header[5], header[7], u32(header[8:])
	if family != unix.AF_INET && family != unix.AF_INET6 || flags&unix.RTM_F_CLONED != 0 {
		return h, false
	}
	table := uint32(header[4])
	if t := get(as, unix.RTA_TABLE); len(t) == 4 {
		table = u32(t)
	}
	paths, uses := relink(get(as, unix.RTA_MULTIPATH), index, 0)
	oif := get(as, unix.RTA_OIF)
	if int(u32(oif)) != index && !uses {
		return h, false
	}
	dst := destination(header, as)
	gateway := get(as, unix.RTA_GATEWAY) != nil || get(as, unix.RTA_VIA) != nil || paths != nil
	if protocol == unix.RTPROT_KERNEL && !gateway {
		automatic := table == unix.RT_TABLE_LOCAL || typ == unix.RTN_MULTICAST || dst.Addr().IsLinkLocalUnicast() || slices.Contains(networks, dst)
		if automatic {
			return h, false
		}
	}
	binary.NativeEndian.PutUint32(header[8:], flags&^routeMoods)
	h = Holding{Kind: KindRoute, Gateway: gateway, Text: routeText(dst, table, as)}
	if c := get(as, unix.RTA_CACHEINFO); len(c) >= 12 { // struct rta_cacheinfo: the third is in 1/100 s
		if left := int32(u32(c[8:])); left > 0 {
			h.Expires = max(1, uint32(left)/100)
		}
	}
	if get(as, rtaNHID) != nil {
		h.Fixed = "it uses a nexthop object (ip nexthop), which belongs to the interface"
	}
	drop := []uint16{unix.RTA_CACHEINFO}
	if int(u32(oif)) == index {
		drop = append(drop, unix.RTA_OIF)
	}
	for i := range as {
		if as[i].typ&nl.NLA_TYPE_MASK == unix.RTA_MULTIPATH {
			as[i].value = paths
		}
	}
	h.Raw = assemble(header, as, drop...)
	return h, true
}

func destination(header []byte, as []attr) netip.Prefix {
	ip, ok := netip.AddrFromSlice(get(as, unix.RTA_DST))
	if !ok {
		ip = netip.IPv4Unspecified()
		if header[0] == unix.AF_INET6 {
			ip = netip.IPv6Unspecified()
		}
	}
	return netip.PrefixFrom(ip, int(header[1]))
}

func routeText(dst netip.Prefix, table uint32, as []attr) string {
	text := dst.String()
	if dst.Bits() == 0 {
		text = "default"
		if dst.Addr().Is6() {
			text = "default (IPv6)"
		}
	}
	if gw, ok := netip.AddrFromSlice(get(as, unix.RTA_GATEWAY)); ok {
		text += " via " + gw.String()
	}
	if metric := u32(get(as, unix.RTA_PRIORITY)); metric != 0 {
		text += fmt.Sprintf(" metric %d", metric)
	}
	if table != unix.RT_TABLE_MAIN {
		text += fmt.Sprintf(" table %d", table)
	}
	return text
}

// parseHeldNeighbour reads a neighbour that the admin entered or whose address was heard.
func parseHeldNeighbour(m []byte, index int) (h Holding, ok bool) {
	as, ok := attrs(m, unix.SizeofNdMsg)
	if !ok {
		return h, false
	}
	header := bytes.Clone(m[:unix.SizeofNdMsg]) // struct ndmsg
	state := binary.NativeEndian.Uint16(header[8:])
	ip, isIP := netip.AddrFromSlice(get(as, netlink.NDA_DST))
	lladdr := get(as, netlink.NDA_LLADDR)
	if int(u32(header[4:])) != index || state&answered == 0 || !isIP || len(lladdr) == 0 {
		return h, false
	}
	h = Holding{Kind: KindNeighbour, Text: fmt.Sprintf("%s at %x", ip, lladdr)}
	if len(lladdr) == 6 {
		h.Text = fmt.Sprintf("%s at %s", ip, macOf(lladdr))
	}
	if state&netlink.NUD_PERMANENT == 0 {
		h.Copy = true
		binary.NativeEndian.PutUint16(header[8:], netlink.NUD_STALE) // believed, and asked about at the next use
	}
	binary.NativeEndian.PutUint32(header[4:], 0)
	h.Raw = assemble(header, as, netlink.NDA_CACHEINFO, netlink.NDA_PROBES, netlink.NDA_IFINDEX)
	return h, true
}
