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

	arpIgnore, arpAnnounce string // of the parent, before the first of ours
}

// VMACName is the name of a virtual host's macvlan.
func VMACName(vhid uint8) string { return fmt.Sprintf("kvha%d", vhid) }

// The alias says that it is ours, and what to put back: a process that was killed leaves nothing else behind.
const vmacAlias = "kvmha:vmac:"

func (v VMAC) alias() string {
	return fmt.Sprintf("%s%d:arp_ignore=%s:arp_announce=%s", vmacAlias, v.VHID, v.arpIgnore, v.arpAnnounce)
}

// parseVMACAlias undoes alias.
func parseVMACAlias(alias string) (v VMAC, ok bool) {
	rest, ours := strings.CutPrefix(alias, vmacAlias)
	number, rest, _ := strings.Cut(rest, ":arp_ignore=")
	ignore, announce, _ := strings.Cut(rest, ":arp_announce=")
	vhid, err := strconv.ParseUint(number, 10, 8)
	if !ours || err != nil || !upTo(ignore, 8) || !upTo(announce, 2) { // the kernel's ip-sysctl.rst
		return VMAC{}, false
	}
	v = VMAC{Interface: VMACName(uint8(vhid)), VHID: uint8(vhid), arpIgnore: ignore, arpAnnounce: announce}
	return v, v.alias() == alias
}

func upTo(text string, most uint64) bool {
	n, err := strconv.ParseUint(text, 10, 4)
	return err == nil && n <= most
}
