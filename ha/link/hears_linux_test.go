package link_test

import (
	"net/netip"
	"slices"
	"testing"

	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
	"kvmctl/internal/testenv"
)

func TestHearsCountsFramesAndKnowsTheGateways(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	lab := hatest.Start(t, "a", "b")
	a, b := lab.Node("a"), lab.Node("b")
	p := openPort(t, b)
	hears := func() (frames uint64, gateways []netip.Addr) {
		t.Helper()
		if err := a.Do(func() (err error) { frames, gateways, err = link.Hears("eth0"); return err }); err != nil {
			t.Fatal(err)
		}
		return frames, gateways
	}
	before, gateways := hears()
	if len(gateways) != 0 {
		t.Errorf("gateways %v", gateways)
	}
	if err := p.Announce(p.MAC(), b.Addr, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "frames are counted", func() bool { now, _ := hears(); return now >= before+2 })
	for _, to := range [][]string{{"route", "add", "default", "via", b.Addr.String()}, {"route", "add", "10.99.0.0/16", "via", b.Addr.String()},
		{"-6", "route", "add", "default", "via", b.Addr6.String()}} {
		if out, err := a.Command(t.Context(), append([]string{"ip"}, to...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if _, gateways := hears(); !slices.Equal(gateways, []netip.Addr{b.Addr, b.Addr6}) {
		t.Errorf("gateways %v", gateways)
	}
}
