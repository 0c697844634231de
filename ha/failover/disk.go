package failover

import "fmt"

func (d Disk) standAlone() string {
	what := map[Apart]string{
		ApartUnclear: "", ApartSecret: "the shared secrets differ", ApartAdmin: "somebody disconnected it", ApartSplit: "split brain", ApartPrimaries: "both were primary when they met",
		ApartSettings: "", // DRBD names it
	}[d.Apart]
	return because(because("resource "+d.Name+" is StandAlone", what), d.Why)
}

func (d Disk) failed() string { return because("resource "+d.Name+" has failed", d.Why) }

// DiskCommand shows a resource; it changes nothing.
func DiskCommand(resource string) string { return "kvmha drbd status " + resource }

// ResolveCommand is what a person types about a resource that is StandAlone.
func ResolveCommand(d Disk) string {
	switch d.Apart {
	case ApartSplit:
		return "kvmha drbd resolve " + d.Name + " --keep <node>"
	case ApartAdmin:
		return "drbdadm connect " + d.Name
	case ApartSecret, ApartSettings: // it compares drbd.conf with the peer's
		return "kvmha drbd lint"
	}
	return DiskCommand(d.Name)
}

// String gives the state with what is wrong.
func (d Disk) String() string {
	s := fmt.Sprintf("disk %s %s", d.Name, d.State)
	if d.Apart != Together {
		s += ", StandAlone (" + d.Apart.String() + ")"
	}
	if d.Syncing {
		s += ", resync"
	}
	if d.PeerUpToDate {
		s += ", peer up to date"
	}
	if d.Frozen != "" {
		s += ", writes stand still"
	}
	return because(s, d.Why)
}
