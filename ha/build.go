package ha

import (
	"kvmctl/ha/check"
	"kvmctl/ha/unit"
)

// CheckItems gives the group's checks for a Runner, named "group/check". Those that only make sense on the active node begin off.
func (g Group) CheckItems() []check.Item {
	var all []check.Item
	for _, c := range g.Checks {
		all = append(all, check.Item{Name: g.CheckName(c), Spec: c.spec(), Off: c.ActiveOnly,
			Policy: check.Policy{Interval: c.Interval, Timeout: c.Timeout, Fall: c.Fall, Rise: c.Rise}})
	}
	return all
}

// CheckName is what a check of the group is called in a Runner.
func (g Group) CheckName(c Check) string { return g.Name + "/" + c.Name }

// spec gives the check in the terms of package check; nil for a type that does not exist, which no loader lets pass.
func (c Check) spec() check.Spec {
	switch c.Type {
	case CheckSystemd:
		return check.Systemd{Unit: c.Unit}
	case CheckProcess:
		return check.Process{PIDFile: c.PIDFile, Name: c.Process}
	case CheckTCP:
		return check.TCP{Address: c.Target, Send: c.Send, Expect: c.Expect}
	case CheckExec:
		return check.Exec{Command: c.Command}
	case CheckPing:
		return check.Ping{Address: c.Target}
	case CheckDNS:
		return c.DNS
	case CheckHTTP:
		return c.HTTP
	case CheckSMTP:
		return c.SMTP
	case CheckDHCP:
		return c.DHCP
	case CheckLDAP:
		return c.LDAP
	case CheckSMB:
		return c.SMB
	case CheckDisk:
		return c.Disk
	case CheckARP:
		return c.ARP
	case CheckSID:
		return c.SID
	case CheckPF:
		return check.PF{}
	case CheckPFSync:
		return c.PFSync
	}
	return nil
}

// RunUnits gives the group's units, in the order in which they are started. A pair of scripts for ucarp is one unit for each address, because
// that is how ucarp calls them.
func (g Group) RunUnits() []unit.Unit {
	var all []unit.Unit
	for _, u := range g.Units {
		switch u.Kind {
		case UnitSystemd:
			all = append(all, unit.Systemd{Unit: u.Name})
		case UnitSysV:
			all = append(all, unit.SysV{Script: u.Name, PIDFile: u.PIDFile})
		case UnitCommand:
			all = append(all, &unit.Command{Label: u.Name, StartBy: u.Start, StopBy: u.Stop, AskBy: u.Status, PIDFile: u.PIDFile})
		case UnitUCARP:
			for _, a := range g.Addresses {
				all = append(all, unit.UCARP(u.Name, first(u.Start), first(u.Stop), u.UCARPArgs(g.Interface, a)))
			}
		}
	}
	return all
}

func first(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	return argv[0]
}
