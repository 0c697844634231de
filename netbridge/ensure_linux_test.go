package netbridge_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"kvmctl/internal/testenv"
	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

func declared(names ...string) []netbridge.Bridge {
	var want []netbridge.Bridge
	for i, n := range names {
		want = append(want, netbridge.Bridge{
			Name: n, MAC: units.DeriveMAC("a-machine", n), MTU: 1500,
			Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96, byte(i), 1}), 24),
		})
	}
	return want
}

// ensured runs Ensure until nothing is left to do, and fails when the second time is not the last.
func ensured(t *testing.T, w *world, want []netbridge.Bridge) []netbridge.Step {
	t.Helper()
	first, err := netbridge.Ensure(t.Context(), w, want)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := netbridge.Ensure(t.Context(), w, want); err != nil || len(again) > 0 {
		t.Fatalf("the second time did %v, error %v", again, err)
	}
	return first
}

func TestABridgeForwardsAtOnceAndKnowsNoSpanningTree(t *testing.T) {
	w := newWorld(t)
	ensured(t, w, declared("br0"))
	w.open(t, olorin(1))
	mountSysfs(t)
	for file, want := range map[string]string{
		"/sys/class/net/br0/bridge/stp_state":     "0",
		"/sys/class/net/br0/bridge/forward_delay": "0",
		"/sys/class/net/br0/addr_assign_type":     "3", // set by someone: udev and networkd leave it alone
		"/sys/class/net/kv1.0/brport/state":       "3", // forwarding
	} {
		if got := readSysfs(t, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	br, err := w.admin.LinkByName("br0")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := w.admin.AddrList(br, netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 || addrs[0].Broadcast.String() != "10.96.0.255" {
		t.Errorf("addresses %v, error %v, want one with broadcast 10.96.0.255", addrs, err)
	}
}

func TestABridgeLeftByAKillAtAnyPointIsCompleted(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	want := declared("br0")
	all, err := netbridge.Plan(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(all) + 1 {
		t.Run(fmt.Sprint(n, " steps were done"), func(t *testing.T) {
			w := newWorld(t)
			if err := netbridge.Apply(t.Context(), w, all[:n]); err != nil {
				t.Fatal(err)
			}
			if got := ensured(t, w, want); fmt.Sprint(got) != fmt.Sprint(all[n:]) {
				t.Errorf("did %v, want %v", got, all[n:])
			}
			if l := w.get(t, "br0"); !l.Ours() || !l.Up || l.MTU != 1500 || l.MAC != want[0].MAC {
				t.Errorf("the bridge is %+v", l)
			}
		})
	}
}

func TestABridgeOfTheAdminsIsUsedAndNeverChanged(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	want := declared("br0")
	for name, theirs := range map[string]netbridge.Link{
		"with another MAC":              {Name: "br0", Kind: "bridge", MTU: 1400},
		"with our MAC, but up":          {Name: "br0", Kind: "bridge", MAC: want[0].MAC, Up: true},
		"with our MAC and an alias":     {Name: "br0", Kind: "bridge", MAC: want[0].MAC, Alias: "lab"},
		"with our MAC and an address":   {Name: "br0", Kind: "bridge", MAC: want[0].MAC, Addresses: []netip.Prefix{want[0].Address}},
		"with the alias of another one": {Name: "br0", Kind: "bridge", MAC: want[0].MAC, Alias: "kvmctl:bridge:br1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if err := w.Plant(theirs); err != nil {
				t.Fatal(err)
			}
			before := fmt.Sprint(w.get(t, "br0"))
			if did := ensured(t, w, want); len(did) > 0 {
				t.Errorf("did %v", did)
			}
			if after := fmt.Sprint(w.get(t, "br0")); after != before {
				t.Errorf("it is %s, was %s", after, before)
			}
		})
	}
	t.Run("with our MAC and a port", func(t *testing.T) {
		w := newWorld(t)
		if err := w.Plant(netbridge.Link{Name: "br0", Kind: "bridge", MAC: want[0].MAC}); err != nil {
			t.Fatal(err)
		}
		if err := w.Plant(netbridge.Link{Name: "eth0", Kind: "veth", Master: "br0"}); err != nil {
			t.Fatal(err)
		}
		if did := ensured(t, w, want); len(did) > 0 {
			t.Errorf("did %v", did)
		}
	})
}

func TestABridgeNamedLikeANICIsRefused(t *testing.T) {
	w := newWorld(t)
	if err := w.Plant(netbridge.Link{Name: "eth0", Kind: "veth"}); err != nil {
		t.Fatal(err)
	}
	nic, err := w.admin.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.admin.LinkAddAltName(nic, "enp3s0"); err != nil {
		t.Fatal(err)
	}
	before := w.names(t)
	steps, err := netbridge.Ensure(t.Context(), w, declared("br0", "lo", "eth0", "enp3s0"))
	want := `interface "lo" is a physical or built-in interface, not a bridge
interface "eth0" is of kind "veth", not a bridge
"enp3s0" is another name of interface "eth0", which is of kind "veth", not a bridge`
	if err == nil || err.Error() != want || steps != nil {
		t.Errorf("steps %v, error %v; want none and %s", steps, err, want)
	}
	if after := w.names(t); after != before {
		t.Errorf("interfaces %q, were %q", after, before)
	}
}

func TestManyAtOnceMakeOneBridge(t *testing.T) {
	w := newWorld(t)
	want := declared("br0", "br1", "br2")
	for range 10 {
		var all sync.WaitGroup
		for range 8 {
			k := worldHere(t) // a handle of its own, as another process has
			all.Go(func() {
				if _, err := netbridge.Ensure(t.Context(), k, want); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if did := ensured(t, w, want); len(did) > 0 {
			t.Errorf("was left to do: %v", did)
		}
		links, err := w.Links(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		down, err := netbridge.PlanDown(links, []string{"br0", "br1", "br2"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := netbridge.Apply(t.Context(), w, down); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFailureOnTheKernelUndoesEverything(t *testing.T) {
	w := newWorld(t)
	want := declared("br0", "br1")
	steps, err := netbridge.Plan(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	before := w.names(t)
	err = netbridge.Apply(t.Context(), w, append(steps, netbridge.CreateBridge{Name: "br0", MAC: brMAC}))
	if text := `create bridge br0: create bridge "br0": file exists`; err == nil || err.Error() != text || !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want %s", err, text)
	}
	if after := w.names(t); after != before {
		t.Errorf("interfaces %q, were %q", after, before)
	}
}

func TestListsAreWholeWhileInterfacesChange(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		if err := w.CreateBridge(t.Context(), fmt.Sprint("steady", i), brMAC); err != nil {
			t.Fatal(err)
		}
	}
	churn := worldHere(t)
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 95, byte(i), 1}), 24)
			err := errors.Join(churn.SetMTU(t.Context(), "steady0", 1300+i%2),
				churn.AddAddress(t.Context(), "steady0", addr), churn.RemoveAddress(t.Context(), "steady0", addr))
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 200 {
		links, err := w.Links(t.Context())
		if err != nil {
			t.Error(err)
			break
		}
		if len(links) != 61 {
			t.Errorf("%d interfaces, want 61", len(links))
			break
		}
	}
	close(stop)
	all.Wait()
}

func readSysfs(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
