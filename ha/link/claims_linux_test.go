package link_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
	"kvmctl/internal/testenv"
)

// The kernel passes the claims to the addresses that are asked for, of both families, by others, and nothing else.
func TestClaimsOfOthersAreHeard(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	lab := hatest.Start(t, "a", "b")
	pa, pb := openPort(t, lab.Node("a")), openPort(t, lab.Node("b"))
	v4, v6 := hatest.Shared(0)
	other4, other6 := hatest.Shared(1)
	last4, last6 := hatest.Shared(2)
	var many []netip.Addr
	for i := range 2000 {
		many = append(many, netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)}))
	}
	for name, addrs := range map[string][]netip.Addr{"a few": {v4, v6, last4, last6}, "too many for the kernel": append(many, v4, v6, last4, last6)} {
		t.Run(name, func(t *testing.T) {
			c := on(t, lab.Node("a"), func() (*link.ClaimSocket, error) { return link.OpenClaims("eth0", addrs) })
			defer c.Close()
			for _, addr := range []netip.Addr{other4, other6, v4, other4, v6, last4, last6} {
				if err := errors.Join(pa.Announce(pa.MAC(), addr, false), pb.Announce(pb.MAC(), addr, false)); err != nil {
					t.Fatal(err)
				}
				if addr == other4 || addr == other6 {
					continue
				}
				times := 1
				if addr.Is4() {
					times = 2
				}
				for range times { // a request and a reply
					got, mac, err := c.Receive(within(t, patience))
					if err != nil || got != addr || mac != pb.MAC() {
						t.Errorf("heard %v of %v, %v; want %v of %v", got, mac, err, addr, pb.MAC())
					}
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if got, mac, err := c.Receive(ctx); err == nil {
				t.Errorf("heard %v of %v, too", got, mac)
			}
		})
	}
}
