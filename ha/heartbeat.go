package ha

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"kvmctl/ha/beat"
	"kvmctl/ha/link"
	"kvmctl/ha/peer"
)

// beatPurpose is what the key of the heartbeats is agreed on for.
const beatPurpose = "heartbeat v1"

// beatsWaiting bounds the heartbeats that wait for the loop.
const beatsWaiting = 256

// beatKey is a key of the peer's: during a rotation there are two.
type beatKey struct {
	id     beat.NodeID
	secret [32]byte
}

// beatPeer is the one other member, as far as heartbeats need it.
type beatPeer struct {
	name   string
	own    beat.NodeID
	keys   []beatKey
	paths  []netip.AddrPort
	listen []string
}

func (p *beatPeer) equal(o *beatPeer) bool {
	return p != nil && o != nil && p.name == o.name && p.own == o.own && slices.Equal(p.keys, o.keys) && slices.Equal(p.paths, o.paths) && slices.Equal(p.listen, o.listen)
}

// heardBeat is a heartbeat whose MAC is right.
type heardBeat struct {
	of     *beatSockets
	number int // the path that it came on; -1: none that the file has
	key    int
	d      beat.Datagram
}

// heartbeat keeps the sockets beside the loop.
type heartbeat struct {
	a      *Agent
	wanted chan channelSpec // of a reload; room for one
	heard  chan heardBeat

	ring    peer.Keyring                // as it was read last
	secrets map[peer.PublicKey][32]byte // of ring's identity with others: each costs a scalar multiplication
}

func newHeartbeat(a *Agent) *heartbeat {
	return &heartbeat{a: a, wanted: make(chan channelSpec, 1), heard: make(chan heardBeat, beatsWaiting)}
}

// want says, from the loop, what the file has now.
func (h *heartbeat) want(s Spec) {
	select {
	case <-h.wanted: // of before, not taken yet
	default:
	}
	h.wanted <- channelSpec{listen: s.Channel.Listen, peers: s.Peers} // it has room for one, and nobody else fills it
}

// run keeps sockets open to the peer that the file and the keys say there is, until ctx ends.
func (h *heartbeat) run(ctx context.Context) {
	spec := <-h.wanted // said before this began
	var peer *beatPeer
	var sockets *beatSockets
	defer func() { sockets.close() }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	first := true
	for {
		next := h.peer(spec)
		if first || next != nil && !next.equal(peer) || next == nil && peer != nil || next != nil && sockets == nil {
			sockets.close()
			peer, sockets, first = next, nil, false
			if next != nil {
				var err error
				sockets, err = h.open(ctx, next)
				h.a.Degrade("heartbeat", err)
			} else {
				h.a.Degrade("heartbeat", nil)
			}
			s := sockets
			h.a.post(ctx, func(now time.Time) { h.a.useBeats(s, now) })
		}
		h.look(ctx, sockets)
		select {
		case <-ctx.Done():
			return
		case spec = <-h.wanted:
		case <-tick.C:
		}
	}
}

// peer gives whom heartbeats are exchanged with: the only other member, when it is paired. A file with several members has groups whose peer it
// does not name, so there CARP decides.
func (h *heartbeat) peer(spec channelSpec) *beatPeer {
	members := slices.DeleteFunc(slices.Clone(spec.peers), func(n peer.Node) bool { return n.Role != peer.Member })
	if len(members) != 1 || len(spec.listen) == 0 {
		return nil
	}
	ring, err := h.ring.Reread(h.a.Keys, members)
	if ring.Identity != h.ring.Identity || h.secrets == nil {
		h.secrets = map[peer.PublicKey][32]byte{}
	}
	h.ring = ring
	if err != nil || ring.Identity == nil || len(ring.Nodes) != 1 {
		return nil // the peer channel tells why
	}
	n := ring.Nodes[0]
	p := &beatPeer{name: n.Name, own: beatID(ring.Identity.Public()), paths: n.Addresses[:min(len(n.Addresses), beat.MaxPaths)], listen: spec.listen}
	for _, k := range []peer.PublicKey{n.Key, n.Next} {
		if k.IsZero() {
			continue
		}
		secret, known := h.secrets[k]
		if !known {
			secret = ring.Identity.Secret(k, beatPurpose)
			h.secrets[k] = secret
		}
		p.keys = append(p.keys, beatKey{beatID(k), secret})
	}
	if len(p.keys) == 0 {
		return nil
	}
	return p
}

func beatID(k peer.PublicKey) beat.NodeID { return beat.IDOf([]byte(k.String())) }

// look tells the loop by which of its own addresses each path leaves, and whether kvmha-tick runs.
func (h *heartbeat) look(ctx context.Context, s *beatSockets) {
	if s == nil {
		return
	}
	tick, err := link.Ticking(ctx)
	tick = tick && err == nil
	var locals []netip.Addr
	for _, at := range s.peer.paths {
		locals = append(locals, localFor(ctx, at))
	}
	h.a.post(ctx, func(time.Time) {
		if p := h.a.pulse; p != nil && p.sockets == s {
			p.tick, p.locals = tick, locals
		}
	})
}

// localFor gives the address that packets to a peer leave from; the zero one: there is no way. Nothing is sent.
func localFor(ctx context.Context, to netip.AddrPort) netip.Addr {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", to.String())
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	at, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// errNoBeatSocket says that no socket of ours is of a path's family.
var errNoBeatSocket = errors.New("nothing listens on an address of its family")

// beatSockets are open toward one peer.
type beatSockets struct {
	peer  *beatPeer
	conns []*net.UDPConn
	via   []*net.UDPConn // of each path; nil: there is none
	runs  runs
}

// open opens the sockets and begins to read them.
func (h *heartbeat) open(ctx context.Context, p *beatPeer) (*beatSockets, error) {
	s := &beatSockets{peer: p}
	for _, at := range p.listen {
		c, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", at)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("listen for heartbeats at %s: %w", at, err)
		}
		s.conns = append(s.conns, c.(*net.UDPConn))
	}
	for _, to := range p.paths {
		s.via = append(s.via, s.conn(to, localFor(ctx, to)))
	}
	for _, c := range s.conns {
		s.runs.begin(ctx, func(context.Context) { h.read(s, c) })
	}
	return s, nil
}

// conn gives the socket for a path: the one of the address that it leaves from, or else one that takes its family.
func (s *beatSockets) conn(to netip.AddrPort, local netip.Addr) (best *net.UDPConn) {
	for _, c := range s.conns {
		at := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		switch {
		case at.Unmap() == local:
			return c
		case at.IsUnspecified() && (at.Is6() || to.Addr().Is4()):
			best = c
		}
	}
	return best
}

func (s *beatSockets) close() {
	if s == nil {
		return
	}
	for _, c := range s.conns {
		c.Close()
	}
	s.runs.stop()
}

// read passes on what the peer has signed. What a stranger sends ends here, most of it at a comparison.
func (h *heartbeat) read(s *beatSockets, c *net.UDPConn) {
	b := make([]byte, beat.MaxSize+1)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of what was sent before
		}
		id, err := beat.Sender(b[:n])
		if err != nil {
			continue
		}
		k := slices.IndexFunc(s.peer.keys, func(k beatKey) bool { return k.id == id })
		if k < 0 {
			continue
		}
		d, err := beat.Parse(b[:n], s.peer.keys[k].secret)
		if err != nil {
			continue
		}
		at := from.Addr().Unmap()
		number := slices.IndexFunc(s.peer.paths, func(p netip.AddrPort) bool { return p.Addr().WithZone("") == at.WithZone("") })
		select {
		case h.heard <- heardBeat{s, number, k, d}:
		default: // the loop is late; the next one is as good
		}
	}
}

// send sends on one path, or not at all when that would wait.
func (s *beatSockets) send(number, key int, d beat.Datagram) error {
	c := s.via[number]
	if c == nil {
		return fmt.Errorf("heartbeat to %s: %w", s.peer.paths[number].Addr(), errNoBeatSocket)
	}
	if err := sendAtOnce(c, d.Append(nil, s.peer.keys[key].secret), s.peer.paths[number]); err != nil {
		return fmt.Errorf("heartbeat to %s: %w", s.peer.paths[number].Addr(), err)
	}
	return nil
}
