package netbridge

import (
	"strconv"
	"strings"
)

// The kernel keeps an alias with each interface; ours say whose it is, so that nothing else has to be remembered.
const (
	aliasPrefix  = "kvmctl:"
	bridgePrefix = aliasPrefix + "bridge:"
	maxGuest     = 40  // bytes of a guest's name
	maxNIC       = 999 // a NIC's number
)

// BridgeAlias is the alias of a bridge of ours.
func BridgeAlias(name string) string { return bridgePrefix + name }

// ParseBridgeAlias gives the name in a bridge's alias; ok is false for whatever BridgeAlias does not write.
func ParseBridgeAlias(alias string) (name string, ok bool) {
	name, ok = strings.CutPrefix(alias, bridgePrefix)
	if !ok || CheckName(name) != nil {
		return "", false
	}
	return name, true
}

// TAPAlias is the alias of the TAP of a guest's NIC, counted from 0. It can look like a bridge's when the guest is called
// "bridge", so the interface's kind decides which of the two parsers is asked.
func TAPAlias(vm string, nic int) string { return aliasPrefix + vm + ":" + strconv.Itoa(nic) }

// ParseTAPAlias gives the guest and the NIC of a TAP's alias; ok is false for whatever TAPAlias does not write for a
// valid guest.
func ParseTAPAlias(alias string) (vm string, nic int, ok bool) {
	rest, ok := strings.CutPrefix(alias, aliasPrefix)
	if !ok {
		return "", 0, false
	}
	vm, digits, ok := strings.Cut(rest, ":")
	if !ok || !guestName(vm) || len(digits) > len(strconv.Itoa(maxNIC)) {
		return "", 0, false
	}
	nic, err := strconv.Atoi(digits)
	if err != nil || nic < 0 || strconv.Itoa(nic) != digits {
		return "", 0, false
	}
	return vm, nic, true
}

// guestName mirrors the rule for guests' names, [a-z0-9][a-z0-9.-]{0,39}: an alias comes from outside.
func guestName(s string) bool {
	if s == "" || len(s) > maxGuest {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return true
}
