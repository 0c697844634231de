package netbridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

func macOf(b []byte) units.MAC { return units.MAC(b) }

// rawData is a message that is ready, for nl.NetlinkRequest.
type rawData []byte

func (r rawData) Len() int { return len(r) }

func (r rawData) Serialize() []byte { return r }

// Give implements Kernel.
func (k *LinuxKernel) Give(ctx context.Context, name string, h Holding, atOnce bool) error {
	return wrap(k.hold(ctx, name, h, true, atOnce), "give %s %s to %q", h.Kind, h.Text, name)
}

// Take implements Kernel.
func (k *LinuxKernel) Take(ctx context.Context, name string, h Holding) error {
	err := k.hold(ctx, name, h, false, false)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) {
		err = unix.ENOENT
	}
	return wrap(err, "take %s %s from %q", h.Kind, h.Text, name)
}

// hold sends the message about a holding with the interface put back in.
func (k *LinuxKernel) hold(ctx context.Context, name string, h Holding, give, atOnce bool) error {
	l, err := k.linkByName(ctx, name)
	if err != nil {
		return err
	}
	m := bytes.Clone(h.Raw)
	typ, flags := 0, unix.NLM_F_ACK
	switch h.Kind {
	case KindAddress:
		typ = unix.RTM_DELADDR
		if give {
			typ, flags = unix.RTM_NEWADDR, flags|unix.NLM_F_CREATE|unix.NLM_F_EXCL
		}
		m, err = addressMessage(m, l, h, give, atOnce)
	case KindRoute:
		typ = unix.RTM_DELROUTE
		if give {
			typ, flags = unix.RTM_NEWROUTE, flags|unix.NLM_F_CREATE|unix.NLM_F_APPEND
		}
		m, err = routeMessage(m, l.Index, h, give)
	case KindNeighbour:
		typ = unix.RTM_DELNEIGH
		if give {
			typ, flags = unix.RTM_NEWNEIGH, flags|unix.NLM_F_CREATE|unix.NLM_F_REPLACE
		}
		if len(m) < unix.SizeofNdMsg {
			return errShort
		}
		binary.NativeEndian.PutUint32(m[4:], uint32(l.Index))
	default:
		err = fmt.Errorf("unknown kind %q", h.Kind)
	}
	if err != nil {
		return err
	}
	return do(ctx, k.request(typ, flags, rawData(m)))
}

var errShort = errors.New("short message")

func addressMessage(m []byte, l rawLink, h Holding, give, atOnce bool) ([]byte, error) {
	as, ok := attrs(m, unix.SizeofIfAddrmsg)
	if !ok {
		return nil, errShort
	}
	binary.NativeEndian.PutUint32(m[4:], uint32(l.Index))
	if !give {
		return m, nil
	}
	if atOnce && m[0] == unix.AF_INET6 { // it is known to be nobody else's: not even a second without it
		flags := u32(get(as, unix.IFA_FLAGS)) | unix.IFA_F_NODAD
		m = append(assemble(m[:unix.SizeofIfAddrmsg], as, unix.IFA_FLAGS), nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)).Serialize()...)
	}
	if label := l.Name + h.Label; m[0] == unix.AF_INET && get(as, unix.IFA_LABEL) == nil && len(label) <= maxName {
		m = append(m, nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(label)).Serialize()...)
	}
	if h.Valid != Forever || h.Preferred != Forever {
		life := binary.NativeEndian.AppendUint32(nil, h.Preferred) // struct ifa_cacheinfo
		life = binary.NativeEndian.AppendUint32(life, h.Valid)
		m = append(m, nl.NewRtAttr(unix.IFA_CACHEINFO, append(life, make([]byte, 8)...)).Serialize()...)
	}
	return m, nil
}

func routeMessage(m []byte, index int, h Holding, give bool) ([]byte, error) {
	as, ok := attrs(m, unix.SizeofRtMsg)
	if !ok {
		return nil, errShort
	}
	multipath := false
	for i := range as {
		if as[i].typ&nl.NLA_TYPE_MASK == unix.RTA_MULTIPATH {
			as[i].value, _ = relink(as[i].value, 0, index)
			multipath = true
		}
	}
	m = assemble(m[:unix.SizeofRtMsg], as)
	if !multipath {
		m = append(m, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))).Serialize()...)
	}
	if give && h.Expires > 0 {
		m = append(m, nl.NewRtAttr(rtaExpires, nl.Uint32Attr(h.Expires)).Serialize()...)
	}
	return m, nil
}

// relink copies the paths of a multipath route (struct rtnexthop) with one interface's number changed; uses says that it was there.
func relink(paths []byte, from, to int) (out []byte, uses bool) {
	out = bytes.Clone(paths)
	for at := 0; len(out)-at >= unix.SizeofRtNexthop; {
		size := int(binary.NativeEndian.Uint16(out[at:]))
		if size < unix.SizeofRtNexthop || size > len(out)-at {
			break
		}
		out[at+2] &^= unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN | unix.RTNH_F_OFFLOAD
		if int(u32(out[at+4:])) == from {
			binary.NativeEndian.PutUint32(out[at+4:], uint32(to))
			uses = true
		}
		at += (size + 3) &^ 3
	}
	return out, uses
}
