package kvmha

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"kvmctl/configs/strict"
	"kvmctl/ha"
)

// group makes one group, and tells what is wrong with it alone.
func (l *loader) group(name string, raw *rawGroup) ha.Group {
	path := strict.Join("group", name)
	g := ha.DefaultGroup(name)
	if why := badGroupName(name); why != "" {
		l.Key(path, fmt.Sprintf("bad group name %q: %s", name, why), "")
	}
	strict.Set(&g.Description, raw.Description)
	strict.Set(&g.Interface, raw.Interface)
	if raw.VHID != nil {
		g.VHID = uint8(*raw.VHID)
	}
	g.Addresses, g.Unicast = known(raw.Addresses), known(raw.Unicast)
	strict.Set(&g.Base, raw.Base)
	strict.Set(&g.Skew, raw.Skew)
	g.PeerSkew = raw.PeerSkew
	strict.Set(&g.DeadRatio, raw.DeadRatio)
	strict.SetAs(&g.Peer, raw.Peer)
	strict.Set(&g.Preempt, raw.Preempt)
	strict.SetTime(&g.PreemptDelay, raw.PreemptDelay)
	strict.Set(&g.VirtualMAC, raw.VirtualMAC)
	strict.Set(&g.Probe, raw.Probe)
	strict.SetTime(&g.CarrierUpDelay, raw.CarrierUpDelay)
	strict.SetTime(&g.CarrierDownDelay, raw.CarrierDownDelay)
	strict.Set(&g.IgnoreCarrier, raw.IgnoreCarrier)
	if raw.Order != nil && !l.Bad[path+".order"] {
		g.Order = nil
		for _, s := range raw.Order {
			g.Order = append(g.Order, ha.Stage(s))
		}
	}
	strict.Set(&g.Restarts, raw.Restarts)
	strict.SetTime(&g.RestartWindow, raw.RestartWindow)
	strict.SetAs(&g.OnFailure, raw.OnFailure)
	strict.SetTime(&g.Remind, raw.Remind)
	strict.SetTime(&g.Damping.Min, raw.Damping.Min)
	strict.SetTime(&g.Damping.Max, raw.Damping.Max)
	strict.Set(&g.Damping.Moves, raw.Damping.Moves)
	strict.SetTime(&g.Damping.Window, raw.Damping.Window)
	g.Hooks.Active, g.Hooks.Standby, g.Hooks.Waiting = raw.Hooks.Active, raw.Hooks.Standby, raw.Hooks.Waiting
	strict.SetTime(&g.Hooks.Timeout, raw.Hooks.Timeout)

	l.password(path, raw, &g)
	for i := range raw.Units {
		g.Units = append(g.Units, l.unit(strict.Element(path+".unit", i), &raw.Units[i]))
	}
	for i := range raw.Checks {
		g.Checks = append(g.Checks, l.check(strict.Element(path+".check", i), &raw.Checks[i], g.Interface, len(raw.Units) > 0))
	}
	l.storage(path, raw, &g)
	l.checkGroup(path, raw, &g)
	return g
}

// known leaves out the elements that could not be read.
func known(list []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return !a.IsValid() })
}

func (l *loader) password(path string, raw *rawGroup, g *ha.Group) {
	var at string
	g.Password, at = l.secret(path, "password", raw.Password, raw.PasswordFile)
	if at == "" {
		if !l.Bad[path+".password"] && !l.Bad[path+".password_file"] {
			l.Value(path, fmt.Sprintf("group %q has no password: whoever is on the network could answer for it", g.Name),
				fmt.Sprintf(`password_file = "/etc/kvmha/%s.password"`, g.Name))
		}
		return
	}
	if n := len(g.Password.Reveal()); n > ha.MaxPassword {
		l.Value(at, fmt.Sprintf(`%s is %d bytes long: ucarp refuses more than %d ("Password too long"), and FreeBSD keeps the first %d without a word`,
			strict.Label(at), n, ha.MaxPassword, ha.MaxPassword), fmt.Sprintf("a password of at most %d bytes, the same on both nodes", ha.MaxPassword))
	}
}

// unit makes one unit and tells what its type lacks or cannot use.
func (l *loader) unit(path string, raw *rawUnit) ha.Unit {
	u := ha.DefaultUnit(ha.UnitSystemd, "")
	strict.SetAs(&u.Kind, raw.Type)
	strict.Set(&u.Name, raw.Name)
	u.Start, u.Stop, u.Status = raw.Start, raw.Stop, raw.Status
	strict.Set(&u.XParam, raw.XParam)
	strict.Set(&u.PIDFile, raw.PIDFile)
	strict.SetTime(&u.StartTimeout, raw.StartTimeout)
	strict.SetTime(&u.StopTimeout, raw.StopTimeout)
	if l.Bad[path+".type"] {
		return u
	}
	if l.need(path, "name", raw.Name != nil, "a [[unit]] without a name", `name = "named.service"`) {
		u.Name = l.unitName(path+".name", u.Kind, u.Name)
	}
	commands := u.Kind == ha.UnitCommand || u.Kind == ha.UnitUCARP
	for _, f := range []struct {
		key     string
		set, ok bool
	}{
		{"start", raw.Start != nil, commands}, {"stop", raw.Stop != nil, commands},
		{"status", raw.Status != nil, u.Kind == ha.UnitCommand}, {"xparam", raw.XParam != nil, u.Kind == ha.UnitUCARP},
		{"pidfile", raw.PIDFile != nil, u.Kind == ha.UnitCommand || u.Kind == ha.UnitSysV},
	} {
		if f.set && !f.ok && !l.Bad[path+"."+f.key] {
			l.Key(path+"."+f.key, fmt.Sprintf("unit.%s beside type = %q: it has no use there", f.key, u.Kind), "")
		}
	}
	switch u.Kind {
	case ha.UnitCommand:
		l.need(path, "start", raw.Start != nil, "a unit of type \"command\" without start", `start = ["/usr/local/sbin/serve", "start"]`)
		l.need(path, "stop", raw.Stop != nil, "a unit of type \"command\" without stop", `stop = ["/usr/local/sbin/serve", "stop"]`)
	case ha.UnitUCARP:
		l.need(path, "start", raw.Start != nil, "a unit of type \"ucarp\" without start", `start = ["/etc/ucarp/vip-up.sh"]`)
		for key, argv := range map[string][]string{"start": raw.Start, "stop": raw.Stop} {
			if len(argv) > 1 {
				l.Value(path+"."+key, "unit."+key+" of type \"ucarp\" is one script: ucarp gives it interface, address and xparam", "")
			}
		}
	}
	if raw.PIDFile != nil && !filepath.IsAbs(u.PIDFile) {
		l.Value(path+".pidfile", "unit.pidfile wants an absolute path, got "+strict.Quote(u.PIDFile), "")
	}
	l.program(path+".start", raw.Start)
	l.program(path+".stop", raw.Stop)
	l.program(path+".status", raw.Status)
	return u
}

// check makes one check and tells what its type lacks or cannot use. iface is its group's interface; withUnits: its group has units, which run on the active node only.
func (l *loader) check(path string, raw *rawCheck, iface string, withUnits bool) ha.Check {
	var kind ha.CheckType
	strict.SetAs(&kind, raw.Type)
	c := ha.DefaultCheck(kind)
	c.ActiveOnly = withUnits
	strict.Set(&c.Unit, raw.Unit)
	strict.Set(&c.PIDFile, raw.PIDFile)
	strict.Set(&c.Process, raw.Process)
	strict.Set(&c.Target, raw.Target)
	strict.Set(&c.Send, raw.Send)
	strict.Set(&c.Expect, raw.Expect)
	c.Command = raw.Run
	if raw.When != nil {
		c.ActiveOnly = *raw.When == "active"
	}
	strict.SetTime(&c.Interval, raw.Interval)
	strict.SetTime(&c.Timeout, raw.Timeout)
	strict.Set(&c.Fall, raw.Fall)
	strict.Set(&c.Rise, raw.Rise)
	if l.need(path, "type", raw.Type != nil, "a [[check]] without a type", `type = "tcp"`) {
		l.checkFields(path, raw, &c, iface)
	}
	if c.Name = defaultCheckName(&c); raw.Name != nil {
		c.Name = *raw.Name
	}
	return c
}

// defaultCheckName says what a check looks at.
func defaultCheckName(c *ha.Check) string {
	what := ""
	switch c.Type {
	case ha.CheckSystemd:
		what = c.Unit
	case ha.CheckProcess:
		if what = c.Process; what == "" {
			what = filepath.Base(c.PIDFile)
		}
	case ha.CheckTCP, ha.CheckPing, ha.CheckHTTP, ha.CheckSMTP, ha.CheckLDAP, ha.CheckSMB:
		what = c.Target
	case ha.CheckDNS:
		what = c.DNS.Name
	case ha.CheckDHCP:
		if what = c.Target; c.DHCP.Discover {
			what = c.DHCP.Interface
		}
	case ha.CheckDisk:
		what = c.Disk.Path
	case ha.CheckARP:
		what = c.ARP.Address
	case ha.CheckSID:
		what = c.SID.Peer
	case ha.CheckPF:
		return string(c.Type)
	case ha.CheckPFSync:
		what = c.PFSync.Interface
	case ha.CheckExec:
		if len(c.Command) > 0 {
			what = filepath.Base(c.Command[0])
		}
	}
	return string(c.Type) + " " + what
}
