package netbridge

import (
	"errors"
	"fmt"

	"kvmctl/internal/units"
)

// TAP is the host's end of a guest's NIC.
type TAP struct {
	Name   string
	Alias  string // of TAPAlias
	Bridge string
	Queues int    // ≥ 1
	MTU    int    // bytes; 0: the bridge's
	Owner  uint32 // the uid that may attach to it besides root. A TAP without an owner takes anyone, so 0 is root.

	Spoof bool        // the guest may send from any MAC address
	MAC   units.MAC   // the guest's own; with Spoof it is not looked at
	CARP  []int       // vhids (1 to 255) whose addresses it may send from as well
	VLAN  int         // of what it sends without a tag; 0: the bridge's own, none with a Trunk
	Trunk units.VLANs // what it sends and gets with a tag
	Rate  units.Rate  // each way; 0: no limit
}

func (t TAP) check() error {
	var errs []error
	if err := CheckName(t.Name); err != nil {
		errs = append(errs, err)
	}
	if _, _, ok := ParseTAPAlias(t.Alias); !ok {
		errs = append(errs, fmt.Errorf("bad alias %q: want kvmctl:<vm>:<nic>", t.Alias))
	}
	if t.Queues < 1 || t.Queues > maxQueues {
		errs = append(errs, fmt.Errorf("bad number of queues %d: want 1 to %d", t.Queues, maxQueues))
	}
	if t.MTU != 0 && (t.MTU < MinMTU || t.MTU > MaxMTU) {
		errs = append(errs, fmt.Errorf("bad MTU %d: want %d to %d", t.MTU, MinMTU, MaxMTU))
	}
	if !t.Spoof && (t.MAC.IsZero() || t.MAC[0]&1 != 0) {
		errs = append(errs, fmt.Errorf("bad MAC address %s: a guest that may not spoof needs a unicast address of its own", t.MAC))
	}
	for _, vhid := range t.CARP {
		if vhid < 1 || vhid > 255 {
			errs = append(errs, fmt.Errorf("bad vhid %d: want 1 to 255", vhid))
		}
	}
	if t.VLAN != 0 && (t.VLAN < units.MinVLAN || t.VLAN > units.MaxVLAN || t.Trunk.Has(t.VLAN)) {
		errs = append(errs, fmt.Errorf("bad VLAN %d beside the trunk [%s]", t.VLAN, t.Trunk))
	}
	for _, r := range t.Trunk {
		if r.First < units.MinVLAN || r.Last > units.MaxVLAN || r.First > r.Last {
			errs = append(errs, fmt.Errorf("bad VLAN range %s", r))
		}
	}
	if t.Rate < 0 {
		errs = append(errs, fmt.Errorf("bad rate %d", t.Rate))
	}
	return errors.Join(errs...)
}

// tagged reports whether the bridge has to keep VLANs apart for this TAP.
func (t TAP) tagged() bool { return t.VLAN != 0 || len(t.Trunk) > 0 }

// portRules are what a guest's port is allowed; a kernel carries them out.
type portRules struct {
	Locked   bool        // the bridge takes frames only from the static addresses
	Learning bool        // the bridge learns who is behind the port
	Guard    bool        // spanning tree messages from the guest are not listened to
	Static   []units.MAC // addresses that are behind this port and never behind another
	Sources  []units.MAC // if any: what is from another address is dropped before the bridge sees it
}

// rules decides how a guest is kept from sending under other addresses.
//
// A guest that has nothing but its own address gets a locked port: the bridge drops whatever comes from an address that it
// does not have as a static entry of that port.
//
// An address of CARP's belongs to whoever is master, here or on another machine. As a static entry it would lead the frames of
// everybody on this host to the local guest while the master is elsewhere, and of two guests that share it the port of one
// would be locked for good. So a NIC that takes part in CARP has an unlocked port that learns, behind a filter that lets its
// own and the declared addresses through.
func (t TAP) rules() portRules {
	switch {
	case t.Spoof:
		return portRules{Learning: true}
	case len(t.CARP) == 0:
		return portRules{Locked: true, Guard: true, Static: []units.MAC{t.MAC}}
	}
	return portRules{Learning: true, Guard: true, Static: []units.MAC{t.MAC}, Sources: append([]units.MAC{t.MAC}, carpMACs(t.CARP)...)}
}

// carpMACs gives the addresses of virtual hosts: CARP's, which is VRRP's (RFC 5798, 7.3), and ucarp's own.
func carpMACs(vhids []int) []units.MAC {
	var macs []units.MAC
	for _, v := range vhids {
		macs = append(macs, units.MAC{0, 0, 0x5e, 0, 1, byte(v)}, units.MAC{0, 0, 0x5e, 0, 0, byte(v)})
	}
	return macs
}

// vlanEntry is a run of VLANs of a port, as the kernel has it.
type vlanEntry struct {
	units.VLANRange
	Untagged bool // and what comes without a tag belongs to it
}

// vlans gives the VLANs that a port is given, and whether the bridge's own, which it has from its birth, is taken from it.
func (t TAP) vlans() (add []vlanEntry, noDefault bool) {
	if !t.tagged() {
		return nil, false
	}
	if t.VLAN != 0 {
		add = append(add, vlanEntry{units.VLANRange{First: t.VLAN, Last: t.VLAN}, true})
	}
	for _, r := range t.Trunk {
		add = append(add, vlanEntry{r, false})
	}
	return add, t.VLAN != defaultVLAN && !t.Trunk.Has(defaultVLAN)
}

// defaultVLAN is a bridge's own (IFLA_BR_VLAN_DEFAULT_PVID): the host and every port without a VLAN of its own are in it.
const defaultVLAN = 1
