package link

import (
	"fmt"
	"strconv"
	"strings"
)

// VMAC is a macvlan of ours, which carries CARP's virtual MAC.
type VMAC struct {
	Interface string
	Parent    string
	VHID      uint8
	arpIgnore string // of the parent, before the first of ours
}

// VMACName is the name of a virtual host's macvlan.
func VMACName(vhid uint8) string { return fmt.Sprintf("kvha%d", vhid) }

// The alias says that it is ours, and what to put back: a process that was killed leaves nothing else behind.
const vmacAlias = "kvmha:vmac:"

func (v VMAC) alias() string {
	return fmt.Sprintf("%s%d:arp_ignore=%s", vmacAlias, v.VHID, v.arpIgnore)
}

// parseVMACAlias undoes alias.
func parseVMACAlias(alias string) (v VMAC, ok bool) {
	rest, ours := strings.CutPrefix(alias, vmacAlias)
	number, ignore, cut := strings.Cut(rest, ":arp_ignore=")
	vhid, err := strconv.ParseUint(number, 10, 8)
	if n, errIgnore := strconv.ParseUint(ignore, 10, 4); !ours || !cut || err != nil || errIgnore != nil || n > 8 {
		return VMAC{}, false
	}
	v = VMAC{Interface: VMACName(uint8(vhid)), VHID: uint8(vhid), arpIgnore: ignore}
	return v, v.alias() == alias
}
