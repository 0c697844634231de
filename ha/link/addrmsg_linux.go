package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// protoOurs marks our addresses for whoever asks who made them (IFA_PROTO, since Linux 5.18; iproute2 shows it as "proto").
const protoOurs = 86

// forever is the lifetime of an address that has none.
const forever = 0xffffffff

// ifaProto is IFA_PROTO (include/uapi/linux/if_addr.h).
const ifaProto = 11

// kernelAddr is an address as the kernel describes it (struct ifaddrmsg and its attributes).
type kernelAddr struct {
	index    int
	prefix   netip.Prefix
	flags    uint32
	valid    uint32 // seconds that are left; forever
	born     uint32 // 1/100 s since boot
	changed  uint32 // likewise, when it was refreshed last
	proto    uint8
	hasCache bool
}

var errShort = errors.New("a netlink message that ends too early")

// attributes calls f for each attribute of a netlink message (struct rtattr).
func attributes(b []byte, f func(typ uint16, data []byte)) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofRtAttr {
			return errShort
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return errShort
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:size])
		b = b[min(len(b), align(size)):]
	}
	return nil
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// parseAddr reads the body of RTM_NEWADDR and RTM_DELADDR.
func parseAddr(b []byte) (kernelAddr, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return kernelAddr{}, errShort
	}
	k := kernelAddr{index: int(int32(binary.NativeEndian.Uint32(b[4:]))), flags: uint32(b[2]), valid: forever}
	var addr, local netip.Addr
	err := attributes(b[unix.SizeofIfAddrmsg:], func(typ uint16, data []byte) {
		switch {
		case typ == unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(data)
		case typ == unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(data)
		case typ == unix.IFA_FLAGS && len(data) >= 4:
			k.flags = binary.NativeEndian.Uint32(data)
		case typ == unix.IFA_CACHEINFO && len(data) >= 16:
			k.valid, k.hasCache = binary.NativeEndian.Uint32(data[4:]), true
			k.born, k.changed = binary.NativeEndian.Uint32(data[8:]), binary.NativeEndian.Uint32(data[12:])
		case typ == ifaProto && len(data) >= 1:
			k.proto = data[0]
		}
	})
	if err != nil {
		return kernelAddr{}, err
	}
	if local.IsValid() { // of a point-to-point interface the other is the peer's
		addr = local
	}
	k.prefix = netip.PrefixFrom(addr, int(b[1]))
	if !k.prefix.IsValid() {
		return kernelAddr{}, fmt.Errorf("an address message with address %v/%d", addr, b[1])
	}
	return k, nil
}

// leased reports whether it is a lease of an agent: one address with an end that the agent marked, or, before Linux 5.18, could have made.
func (k kernelAddr) leased() bool {
	return k.valid != forever && k.valid <= 2 && k.prefix.IsSingleIP() && (k.proto == protoOurs || k.proto == 0)
}

// message begins a netlink message; its length is set by finish.
func message(typ, flags int, seq uint32) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, 128)
	binary.NativeEndian.PutUint16(b[4:], uint16(typ))
	binary.NativeEndian.PutUint16(b[6:], uint16(unix.NLM_F_REQUEST|flags))
	binary.NativeEndian.PutUint32(b[8:], seq)
	return b
}

func finish(b []byte) []byte {
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func attribute(b []byte, typ uint16, data ...byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

// addrMessage is a message about one address with a full prefix.
func addrMessage(typ, flags int, seq uint32, index int, addr netip.Addr) []byte {
	b := message(typ, flags, seq)
	family, scope := byte(unix.AF_INET), byte(unix.RT_SCOPE_UNIVERSE)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	if addr.IsLoopback() {
		scope = unix.RT_SCOPE_HOST
	}
	b = append(b, family, byte(addr.BitLen()), 0, scope)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = attribute(b, unix.IFA_LOCAL, addr.AsSlice()...)
	return attribute(b, unix.IFA_ADDRESS, addr.AsSlice()...)
}

// leaseMessage adds (NLM_F_EXCL) or refreshes (NLM_F_REPLACE) a leased address.
func leaseMessage(flags int, seq uint32, index int, addr netip.Addr, lifetime time.Duration) []byte {
	b := addrMessage(unix.RTM_NEWADDR, flags|unix.NLM_F_CREATE|unix.NLM_F_ECHO, seq, index, addr)
	valid := uint32(lifetime / time.Second)
	preferred, ifaFlags := valid, uint32(0)
	if addr.Is6() {
		// Never chosen as a source by itself, usable at once (a duplicate is asked for before), and no route to its prefix.
		preferred, ifaFlags = 0, unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE
	}
	var cache []byte
	for _, v := range []uint32{preferred, valid, 0, 0} {
		cache = binary.NativeEndian.AppendUint32(cache, v)
	}
	b = attribute(b, unix.IFA_CACHEINFO, cache...)
	b = attribute(b, unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, ifaFlags)...)
	return finish(attribute(b, ifaProto, protoOurs))
}
