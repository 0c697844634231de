package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha/hatest"
)

// FAILOVER.md, safety 9: an address that is found while the group is not active is removed, and if it is static configuration the file is named.
func TestAddressFoundHereNamesTheFile(t *testing.T) {
	s, a := backup(t, "")
	dir := filepath.Join(a.root, "etc/network/interfaces.d")
	s.must(os.MkdirAll(dir, 0o755))
	s.must(os.WriteFile(filepath.Join(dir, "eth0"), []byte("iface eth0 inet static\n\taddress "+s.vip.String()+"/24\n"), 0o644))
	s.must(a.node.AddAddr(netip.PrefixFrom(s.vip, 24)))
	if err := hatest.Until(s.ctx, func() bool {
		st, err := a.status()
		return err == nil && strings.Contains(strings.Join(st.Groups[0].Alarms, "\n"), "it stands in "+filepath.Join(dir, "eth0")+":2")
	}); err != nil {
		st, _ := a.status()
		t.Errorf("the file is not named: %+v", st.Groups)
	}
	if err := hatest.Until(s.ctx, func() bool { has, err := a.node.Holds(s.vip); return err == nil && !has }); err != nil {
		t.Error("the address was not removed")
	}
	a.role("standby")
}
