package kvmha

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
)

// checkGroup finds what no single value of a group shows. It says nothing of values that already have a problem.
func (l *loader) checkGroup(path string, raw *rawGroup, g *ha.Group) {
	if l.need(path, "interface", raw.Interface != nil, fmt.Sprintf("group %q has no interface", g.Name), `interface = "eth0"`) {
		if why := badInterface(g.Interface); why != "" {
			l.Value(path+".interface", fmt.Sprintf("bad interface name %q: %s", g.Interface, why), "")
		}
	}
	l.need(path, "vhid", raw.VHID != nil, fmt.Sprintf("group %q has no vhid", g.Name), "vhid = 1, the same on both nodes")
	l.checkAddresses(path, raw, g)
	l.checkElection(path, raw, g)
	l.checkUnicast(path, raw, g)
	l.checkOrder(path, raw)
	l.checkTimes(path, raw, g)
	l.program(path+".hooks.active", raw.Hooks.Active)
	l.program(path+".hooks.standby", raw.Hooks.Standby)
	l.program(path+".hooks.waiting", raw.Hooks.Waiting)
	names := strict.Firsts[string]{}
	for i, c := range g.Checks {
		at := strict.Element(path+".check", i)
		if l.Bad[at+".type"] || raw.Checks[i].Type == nil {
			continue
		}
		if line, taken := names.Taken(l.Document, c.Name, at); taken {
			l.Value(at, fmt.Sprintf("a check is called %q already in line %d", c.Name, line), `name = "another name"`)
		}
		l.checkOwnTarget(at, g, &c)
	}
}

// checkOwnTarget refuses a check of the shared address itself that would have to be green before this node has it: the group could never become
// active, least of all when the other node has just died.
func (l *loader) checkOwnTarget(at string, g *ha.Group, c *ha.Check) {
	a, err := netip.ParseAddr(c.Target)
	port := ""
	if ap, errPort := netip.ParseAddrPort(c.Target); errPort == nil {
		a, err, port = ap.Addr(), nil, fmt.Sprint(":", ap.Port())
	}
	if err != nil || !slices.Contains(g.Addresses, a) || l.Bad[at+".target"] {
		return
	}
	fix := ""
	if port != "" && a.Is4() {
		fix = fmt.Sprintf("target = %q", "127.0.0.1"+port)
	} else if port != "" {
		fix = fmt.Sprintf("target = %q", "[::1]"+port)
	}
	l.Value(at+".target", fmt.Sprintf("%s is shared, and taken only after the check %q is green: this group would never be active", a, c.Name), fix)
}

func (l *loader) checkAddresses(path string, raw *rawGroup, g *ha.Group) {
	at := path + ".addresses"
	if l.need(path, "addresses", raw.Addresses != nil, fmt.Sprintf("group %q has no addresses", g.Name), `addresses = ["10.2.0.10"]`) && len(raw.Addresses) == 0 {
		l.Value(at, "addresses is empty: there is nothing to share", `addresses = ["10.2.0.10"]`)
	}
	for i, a := range raw.Addresses {
		if a.IsValid() && unfit(a) {
			l.Value(strict.Element(at, i), fmt.Sprintf("%s is no address that two nodes could share", a), "")
		}
	}
	if g.Peer != ha.PeerUCARP || l.Bad[path+".peer"] {
		return
	}
	v4 := 0
	for i, a := range raw.Addresses {
		if a.Is4() {
			v4++
		} else if a.IsValid() {
			l.Value(strict.Element(at, i), fmt.Sprintf("%s: a ucarp peer knows IPv4 only, and would take every advert of this group for a forged one", a),
				"a group of its own for it, without a ucarp peer")
		}
	}
	if v4 > 1 {
		l.Value(at, fmt.Sprintf("addresses has %d: the adverts are signed over all of them, ucarp signs one, and both nodes would be master", v4),
			"a group for each address, with a vhid of its own")
	}
}

// unfit says that an address cannot wander between nodes.
func unfit(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// checkElection refuses figures with which the two nodes would never agree.
func (l *loader) checkElection(path string, raw *rawGroup, g *ha.Group) {
	if raw.PeerSkew != nil && g.Skew == *raw.PeerSkew && !l.Bad[path+".skew"] {
		at := path + ".peer_skew"
		if raw.Skew != nil {
			at = path + ".skew"
		}
		l.Value(at, fmt.Sprintf("skew and peer_skew are both %d: both nodes would be master for a while whenever they start together", g.Skew),
			fmt.Sprintf("skew = %d on the node that is to be the standby", min(g.Skew+100, ha.MaxSkew)))
	}
	if g.Peer == ha.PeerBSD && g.DeadRatio != 3 && !l.Bad[path+".peer"] {
		l.Value(path+".dead_ratio", fmt.Sprintf("dead_ratio is %d: a BSD peer counts 3 intervals, and the two would not agree when a master is dead", g.DeadRatio), "dead_ratio = 3")
	}
	if l.Bad[path+".base"] || l.Bad[path+".peer"] || g.Base != 0 {
		return
	}
	switch g.Peer {
	case ha.PeerUCARP:
		l.Value(path+".base", "base is 0: ucarp then gives a master up after one interval, and both nodes take turns (31 changes in 15 s were measured)", "base = 1")
	case ha.PeerBSD:
		l.Value(path+".base", "base is 0: FreeBSD refuses such adverts", "base = 1")
	case ha.PeerKVMHA:
		if g.Skew == 0 && !l.Bad[path+".skew"] {
			l.Value(path+".base", "base and skew are both 0: that is no interval at all", "base = 1")
		}
	}
}

func (l *loader) checkUnicast(path string, raw *rawGroup, g *ha.Group) {
	if raw.Unicast == nil {
		return
	}
	at := path + ".unicast"
	switch {
	case g.Peer == ha.PeerUCARP && !l.Bad[path+".peer"]:
		l.Key(at, "unicast beside peer = \"ucarp\": ucarp hears multicast only", "")
		return
	case len(raw.Unicast) == 0:
		l.Value(at, "unicast is empty: without the key, adverts are multicast", "")
	}
	for i, a := range raw.Unicast {
		switch {
		case !a.IsValid():
		case unfit(a):
			l.Value(strict.Element(at, i), fmt.Sprintf("%s is no address of another node", a), "")
		case slices.Contains(raw.Addresses, a):
			l.Value(strict.Element(at, i), fmt.Sprintf("%s is one of the shared addresses: adverts go to the peer's own", a), "")
		case slices.Index(raw.Unicast, a) < i:
			l.Value(strict.Element(at, i), fmt.Sprintf("unicast has %s twice", a), "")
		}
	}
}

// stages is the order that safety needs of those that are named: the address only where everything before it has finished.
var stages = []ha.Stage{ha.StageDRBD, ha.StageMounts, ha.StageUnits, ha.StageChecks, ha.StageAddress, ha.StageAnnounce}

func (l *loader) checkOrder(path string, raw *rawGroup) {
	at := path + ".order"
	if raw.Order == nil || l.Bad[at] {
		return
	}
	for i, s := range raw.Order {
		switch {
		case s == "": // could not be read
			return
		case slices.Index(raw.Order, s) < i:
			l.Value(strict.Element(at, i), fmt.Sprintf("order has %q twice", s), "")
			return
		}
	}
	last := -1
	for i, s := range raw.Order {
		rank := slices.Index(stages, ha.Stage(s))
		if rank < 0 {
			continue
		}
		if rank < last {
			l.Value(strict.Element(at, i), fmt.Sprintf("order has %q behind %q: nobody may reach the address before the rest is done", s, stages[last]),
				"order = "+strict.List(ha.DefaultOrder()))
			return
		}
		last = rank
	}
	need := []ha.Stage{ha.StageAddress}
	if len(raw.DRBD) > 0 {
		need = append(need, ha.StageDRBD)
	}
	if len(raw.Mounts) > 0 {
		need = append(need, ha.StageMounts)
	}
	if len(raw.Units) > 0 {
		need = append(need, ha.StageUnits)
	}
	if hooked(raw) {
		need = append(need, ha.StageHooks)
	}
	for _, s := range need {
		if !slices.Contains(raw.Order, string(s)) {
			l.Value(at, fmt.Sprintf("order lacks %q", s), "order = "+strict.List(ha.DefaultOrder()))
		}
	}
}

func hooked(raw *rawGroup) bool { return raw.Hooks.Active != nil || raw.Hooks.Standby != nil }

func (l *loader) checkTimes(path string, raw *rawGroup, g *ha.Group) {
	if raw.PreemptDelay != nil && !g.Preempt && !l.Bad[path+".preempt"] {
		l.Key(path+".preempt_delay", "preempt_delay without preempt = true", "preempt = true")
	}
	if g.IgnoreCarrier {
		for key, set := range map[string]bool{"carrier_up_delay": raw.CarrierUpDelay != nil, "carrier_down_delay": raw.CarrierDownDelay != nil} {
			if set {
				l.Key(path+"."+key, key+" beside ignore_carrier = true", "")
			}
		}
	}
	if g.Damping.Max < g.Damping.Min && !l.Bad[path+".damping.min"] && !l.Bad[path+".damping.max"] {
		at := path + ".damping.min"
		if raw.Damping.Max != nil {
			at = path + ".damping.max"
		}
		l.Value(at, fmt.Sprintf("damping.max %s is less than damping.min %s", strict.Short(g.Damping.Max), strict.Short(g.Damping.Min)), "")
	}
}

// together finds what groups have in common that only one of them may have.
func (l *loader) together(groups []ha.Group, raw map[string]rawGroup) {
	vhids, addresses, units := strict.Firsts[string]{}, strict.Firsts[netip.Addr]{}, strict.Firsts[string]{}
	for _, g := range groups {
		path := strict.Join("group", g.Name)
		if g.Interface != "" && g.VHID != 0 {
			if line, taken := vhids.Taken(l.Document, fmt.Sprintf("%s %d", g.Interface, g.VHID), path+".vhid"); taken {
				l.Value(path+".vhid", fmt.Sprintf("vhid %d on %s is in line %d already: the two groups would take each other for the peer", g.VHID, g.Interface, line), "")
			}
		}
		for i, a := range raw[g.Name].Addresses {
			at := strict.Element(path+".addresses", i)
			if !a.IsValid() {
				continue
			}
			if line, taken := addresses.Taken(l.Document, a, at); taken {
				l.Value(at, fmt.Sprintf("%s is in line %d already", a, line), "")
			}
		}
		for i, u := range g.Units {
			at := strict.Element(path+".unit", i)
			if u.Name == "" || u.Kind == ha.UnitUCARP || l.Bad[at+".name"] { // ucarp's scripts are told which address they are called for
				continue
			}
			if line, taken := units.Taken(l.Document, unitKey(u), at+".name"); taken {
				l.Value(at+".name", fmt.Sprintf("%s belongs to the unit in line %d already: two groups cannot both decide where it runs", u.Name, line), "")
			}
		}
	}
}

// unitKey tells whether two units are the same thing.
func unitKey(u ha.Unit) string {
	switch u.Kind {
	case ha.UnitSystemd:
		return "service " + strings.TrimSuffix(u.Name, ".service")
	case ha.UnitSysV:
		return "service " + u.Name // systemd wraps init scripts into services of the same name
	}
	return string(u.Kind) + " " + u.Name
}
