package kvmha

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/peer"
)

// channel fills where the other nodes reach this one.
func (l *loader) channel(c *ha.Channel, raw *rawChannel, peers map[string]rawPeer) {
	if len(peers) > 0 {
		c.Listen = []string{ha.DefaultListen}
	}
	if raw.Listen == nil || l.Bad["channel.listen"] {
		return
	}
	c.Listen = raw.Listen
	switch {
	case len(peers) == 0:
		l.Key("channel.listen", "channel.listen without a [peer.<name>]: there is nobody to listen to", "")
	case len(raw.Listen) == 0:
		l.Value("channel.listen", "channel.listen is empty: no peer could reach this node", fmt.Sprintf("listen = [%q]", ha.DefaultListen))
	}
	for i, s := range raw.Listen {
		host, port, err := net.SplitHostPort(s)
		if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 || host != "" && !literal(host) {
			l.Value(strict.Element("channel.listen", i), fmt.Sprintf(`channel.listen wants a port with or without a literal address, such as %q or "10.2.0.1:%d", got %q`,
				ha.DefaultListen, peer.Port, s), "")
		}
	}
}

func literal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// peers gives the other nodes, in the order of the file.
func (l *loader) peers(raw map[string]rawPeer, own *string) (all []peer.Node) {
	at := map[string]int{}
	for name := range raw {
		at[name] = l.Offset(strict.Join("peer", name))
	}
	firsts := strict.Firsts[netip.AddrPort]{}
	for _, name := range slices.SortedFunc(maps.Keys(raw), func(a, b string) int { return cmp.Compare(at[a], at[b]) }) {
		r, path := raw[name], strict.Join("peer", name)
		n := peer.Node{Name: name, Role: peer.Member}
		strict.SetAs(&n.Role, r.Role)
		switch {
		case !peer.ValidName(name):
			l.Key(path, fmt.Sprintf("bad peer name %q: %v", name, peer.ErrBadName), "")
		case own != nil && *own == name:
			l.Key(path, fmt.Sprintf("peer %q is this node itself: node = %q", name, name), "")
		}
		if l.need(path, "addresses", r.Addresses != nil, fmt.Sprintf("peer %q has no addresses", name), `addresses = ["10.2.0.11"]`) && len(r.Addresses) == 0 {
			l.Value(path+".addresses", fmt.Sprintf("peer %q has no addresses", name), `addresses = ["10.2.0.11"]`)
		}
		for i, s := range r.Addresses {
			p := strict.Element(path+".addresses", i)
			if l.Bad[p] {
				continue
			}
			a, ok := peerAddress(s)
			if !ok {
				l.Value(p, fmt.Sprintf(`peer.addresses wants literal addresses, each with or without a port, such as "10.2.0.11" or "[fd00:2::11]:%d", got %q`, peer.Port, s), "")
				continue
			}
			if line, ok := firsts.Taken(l.Document, a, p); ok {
				l.Value(p, fmt.Sprintf("%s is a peer's address already in line %d", s, line), "")
				continue
			}
			n.Addresses = append(n.Addresses, a)
		}
		all = append(all, n)
	}
	return all
}

// peerAddress reads a literal address with or without a port.
func peerAddress(s string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err == nil {
		return netip.AddrPortFrom(a.Unmap(), peer.Port), !a.IsUnspecified() && !a.IsMulticast()
	}
	ap, err := netip.ParseAddrPort(s)
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	return ap, err == nil && ap.Port() != 0 && !ap.Addr().IsUnspecified() && !ap.Addr().IsMulticast()
}
