package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Neighbours asks the kernel where neighbours are, and has it find out: it alone sends ARP and neighbour solicitations. One goroutine uses it.
type Neighbours struct{ r *rtnl }

// OpenNeighbours begins in the calling thread's network namespace.
func OpenNeighbours() (*Neighbours, error) {
	r, err := openRTNL(0)
	if err != nil {
		return nil, err
	}
	return &Neighbours{r}, nil
}

// Close lets go of the socket.
func (n *Neighbours) Close() { n.r.close() }

// Confirm has the kernel ask a neighbour whether it is still where it was, or look for it, and does not wait for the answer. It needs
// CAP_NET_ADMIN. ENODEV: there is no such interface.
func (n *Neighbours) Confirm(to Neighbour) error {
	index, k, err := n.entry(to)
	if err != nil {
		return fmt.Errorf("look for neighbour %s on %s: %w", to.Addr, to.Interface, err)
	}
	if k.state&unix.NUD_PERMANENT != 0 {
		return nil
	}
	seq := n.r.nextSeq()
	m := message(unix.RTM_NEWNEIGH, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE, seq)
	if k.mac == (MAC{}) { // as if there were a packet for it: a question to everybody (ip-neighbour(8), use)
		m = neighbourMessage(m, index, 0, unix.NTF_USE, to.Addr)
	} else { // a question to it alone, now, and not when the kernel's own time for that has come
		m = attribute(neighbourMessage(m, index, unix.NUD_PROBE, 0, to.Addr), unix.NDA_LLADDR, k.mac[:]...)
	}
	if err := n.r.ask(finish(m), seq); err != nil {
		return fmt.Errorf("have the kernel look for neighbour %s on %s: %w", to.Addr, to.Interface, err)
	}
	return nil
}

// Confirmed gives where a neighbour is when that was confirmed since Confirm, or an admin has written it down; false: nobody knows for certain.
func (n *Neighbours) Confirmed(to Neighbour) (MAC, bool, error) {
	_, k, err := n.entry(to)
	if err != nil {
		return MAC{}, false, fmt.Errorf("ask for neighbour %s on %s: %w", to.Addr, to.Interface, err)
	}
	return k.mac, k.mac != (MAC{}) && k.state&(unix.NUD_REACHABLE|unix.NUD_PERMANENT) != 0, nil
}

// kernelNeighbour is an entry of the kernel's table of neighbours (struct ndmsg and its attributes).
type kernelNeighbour struct {
	index int
	state uint16 // NUD_…
	addr  netip.Addr
	mac   MAC // zero: not known
}

// entry gives the kernel's entry, a zero one where it has none.
func (n *Neighbours) entry(of Neighbour) (index int, k kernelNeighbour, err error) {
	s, err := n.r.lookup(of.Interface)
	if err != nil {
		return 0, k, err
	}
	seq := n.r.nextSeq()
	if err := n.r.send(finish(neighbourMessage(message(unix.RTM_GETNEIGH, 0, seq), s.Index, 0, 0, of.Addr))); err != nil {
		return 0, k, err
	}
	var verdict error
	err = n.r.receive(func(m reply) bool {
		if m.seq != seq {
			return false
		}
		if verdict = m.err; m.typ == unix.RTM_NEWNEIGH {
			k, verdict = parseNeighbour(m.body)
		}
		return true
	})
	if err = errors.Join(err, verdict); errors.Is(err, unix.ENOENT) {
		return s.Index, kernelNeighbour{}, nil
	}
	return s.Index, k, err
}

// neighbourMessage adds struct ndmsg and the address to the beginning of a message.
func neighbourMessage(m []byte, index int, state uint16, flags byte, addr netip.Addr) []byte {
	family := byte(unix.AF_INET)
	if addr.Is6() {
		family = unix.AF_INET6
	}
	m = append(m, family, 0, 0, 0)
	m = binary.NativeEndian.AppendUint32(m, uint32(index))
	m = append(binary.NativeEndian.AppendUint16(m, state), flags, 0)
	return attribute(m, unix.NDA_DST, addr.AsSlice()...)
}

// parseNeighbour reads the body of RTM_NEWNEIGH.
func parseNeighbour(b []byte) (k kernelNeighbour, err error) {
	if len(b) < unix.SizeofNdMsg {
		return k, errShort
	}
	k.index, k.state = int(int32(binary.NativeEndian.Uint32(b[4:]))), binary.NativeEndian.Uint16(b[8:])
	err = attributes(b[unix.SizeofNdMsg:], func(typ uint16, data []byte) {
		switch {
		case typ == unix.NDA_DST:
			k.addr, _ = netip.AddrFromSlice(data)
		case typ == unix.NDA_LLADDR && len(data) == len(k.mac):
			k.mac = MAC(data)
		}
	})
	if err != nil {
		return kernelNeighbour{}, err
	}
	return k, nil
}
