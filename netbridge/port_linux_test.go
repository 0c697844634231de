package netbridge_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

func varda() netbridge.TAP {
	return netbridge.TAP{Name: "kv2.0", Alias: "kvmctl:vm-varda:0", Bridge: "br0", Queues: 1, MAC: vardaMAC}
}

func carp(vhid byte) units.MAC  { return units.MAC{0, 0, 0x5e, 0, 1, vhid} }
func ucarp(vhid byte) units.MAC { return units.MAC{0, 0, 0x5e, 0, 0, vhid} }

// said lets a guest say something under each address, to everybody, and gives what was heard on the LAN.
func said(t *testing.T, g guest, lan machine, own units.MAC, from map[string]units.MAC) []string {
	t.Helper()
	names := make([]string, 0, len(from))
	for name := range from {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		g.send(t, frame(broadcast, from[name], 0, name))
	}
	g.send(t, frame(broadcast, own, 0, "end"))
	return heard(t, lan)
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

func TestAGuestSpeaksUnderItsOwnAddressOnly(t *testing.T) {
	addresses := map[string]units.MAC{"own": olorinMAC, "varda's": vardaMAC, "the bridge's": brMAC, "the LAN's": lanMAC, "any": {2, 1, 2, 3, 4, 5},
		"carp 7": carp(7), "ucarp 7": ucarp(7), "carp 8": carp(8), "ucarp 8": ucarp(8)}
	for _, tt := range []struct {
		name   string
		change func(*netbridge.TAP)
		want   []string
	}{
		{"by default", func(*netbridge.TAP) {}, []string{"own"}},
		{"with carp", func(t *netbridge.TAP) { t.CARP = []int{7} }, []string{"carp 7", "own", "ucarp 7"}},
		{"with spoof", func(t *netbridge.TAP) { t.Spoof = true },
			[]string{"any", "carp 7", "carp 8", "own", "the LAN's", "the bridge's", "ucarp 7", "ucarp 8", "varda's"}},
	} {
		for _, queues := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d queues", tt.name, queues), func(t *testing.T) {
				w := withBridge(t, 1500)
				lan := w.plantLAN(t)
				w.open(t, varda())
				tap := olorin(queues)
				tt.change(&tap)
				g := guest{w.open(t, tap)[0]}
				expect(t, said(t, g, lan, olorinMAC, addresses), tt.want...)
			})
		}
	}
}

func TestAGuestThatMayNotSpoofHearsEverything(t *testing.T) {
	for _, vhids := range [][]int{nil, {7}} {
		t.Run(fmt.Sprint("carp ", vhids), func(t *testing.T) {
			w := withBridge(t, 1500)
			lan := w.plantLAN(t)
			tap := olorin(1)
			tap.CARP = vhids
			g := guest{w.open(t, tap)[0]}
			for text, to := range map[string]units.MAC{"to all": broadcast, "to IPv6's": allNodes, "to it": olorinMAC, "to carp": carp(7)} {
				lan.send(t, frame(to, lanMAC, 0, text))
			}
			lan.send(t, frame(olorinMAC, lanMAC, 0, "end"))
			got := heard(t, g)
			slices.Sort(got)
			expect(t, got, "to IPv6's", "to all", "to carp", "to it")
		})
	}
}

// A frame of the guest's own that comes back, through a loop or from someone who forges it, must not lock the guest out.
func TestAForgedFrameFromElsewhereDoesNotMoveAGuest(t *testing.T) {
	for _, vhids := range [][]int{nil, {7}} {
		t.Run(fmt.Sprint("carp ", vhids), func(t *testing.T) {
			w := withBridge(t, 1500)
			lan := w.plantLAN(t)
			tap := olorin(1)
			tap.CARP = vhids
			g := guest{w.open(t, tap)[0]}
			other := guest{w.open(t, varda())[0]}
			lan.send(t, frame(broadcast, olorinMAC, 0, "forged"))
			other.send(t, frame(broadcast, olorinMAC, 0, "forged too"))
			other.send(t, frame(olorinMAC, vardaMAC, 0, "end"))
			expect(t, heard(t, g), "forged") // by the LAN, where nobody asks; the other guest was not heard, and what is for it goes to it
			expect(t, said(t, g, lan, olorinMAC, map[string]units.MAC{"own": olorinMAC}), "own")
		})
	}
}

// Two guests of one host share a virtual host with a machine elsewhere: whoever is master speaks and is found.
func TestAVirtualHostMovesBetweenItsMembers(t *testing.T) {
	w := withBridge(t, 1500)
	lan := w.plantLAN(t)
	tap, other := olorin(1), varda()
	tap.CARP, other.CARP = []int{7}, []int{7}
	a, b := guest{w.open(t, tap)[0]}, guest{w.open(t, other)[0]}
	for range 2 {
		for name, member := range map[string]station{"olorin": a, "varda": b, "elsewhere": lan} {
			member.send(t, frame(broadcast, carp(7), 0, "master"))
			// Everybody but the member itself hears it, and then what is sent to the address goes to the member alone.
			var from station = a
			sender := olorinMAC
			if name == "olorin" {
				from, sender = b, vardaMAC
			}
			from.send(t, frame(carp(7), sender, 0, "for the master"))
			from.send(t, frame(broadcast, sender, 0, "end"))
			for who, s := range map[string]station{"olorin": a, "varda": b, "elsewhere": lan} {
				if s == from {
					if f, _ := s.next(t, patience); f == nil {
						t.Fatalf("%s did not hear the master %s", who, name)
					}
					continue
				}
				want := []string{"master"}
				if who == name {
					want = []string{"for the master"}
				}
				if diff := cmp.Diff(want, heard(t, s)); diff != "" {
					t.Errorf("master %s, %s hears (-want +got):\n%s", name, who, diff)
				}
			}
		}
	}
}

// full says that the kernel is a distribution's, which can do everything: a refusal is then a failure.
func full() bool { return os.Getenv("NETBRIDGE_FULL_KERNEL") == "1" }

// refused reports whether the kernel could not do what a TAP asks, and sees that it said so and left nothing.
func refused(t *testing.T, w *world, err error, what string) bool {
	t.Helper()
	if err == nil {
		return false
	}
	var why *netbridge.UnsupportedError
	switch {
	case full(), !errors.As(err, &why):
		t.Fatal(err)
	case why.What != what || why.Hint() == "" || !errors.Is(err, errors.ErrUnsupported):
		t.Errorf("refused with %v, hint %q, want %s", err, why.Hint(), what)
	}
	if got := w.names(t); got != "lo br0" {
		t.Errorf("interfaces %s after the refusal, want lo br0", got)
	}
	return true
}

func TestARateHoldsInBothDirections(t *testing.T) {
	w := withBridge(t, 1500)
	tap := olorin(1)
	tap.Rate = 8 * units.Mbit
	files, err := w.OpenTAP(t.Context(), tap)
	if refused(t, w, err, "limit what a guest sends (modules cls_matchall and act_police)") {
		return
	}
	t.Cleanup(func() { files[0].Close() })
	lan := w.plantLAN(t)
	g := guest{files[0]}
	for _, rate := range []units.Rate{8 * units.Mbit, 2 * units.Mbit} { // an emulated machine has to manage them
		if err := w.SetRate(t.Context(), "kv1.0", rate); err != nil {
			t.Fatal(err)
		}
		for name, way := range map[string]struct {
			from, to station
			src      units.MAC
		}{"from the guest": {g, lan, olorinMAC}, "to the guest": {lan, g, lanMAC}} {
			got := throughput(t, way.from, way.to, way.src)
			if got > 1.5*float64(rate) || got < 0.3*float64(rate) {
				t.Errorf("%s: %.1f Mbit/s, want about %v", name, got/1e6, rate)
			}
		}
	}
	if err := w.SetRate(t.Context(), "kv1.0", 0); err != nil {
		t.Fatal(err)
	}
	if got := throughput(t, g, lan, olorinMAC); got < 4e6 { // twice what went through just before
		t.Errorf("without a limit: %.1f Mbit/s", got/1e6)
	}
}

// throughput floods for two seconds after a first half that empties the buckets, and gives bits per second that arrive.
func throughput(t *testing.T, from, to station, src units.MAC) float64 {
	t.Helper()
	f := append(frame(broadcast, src, 0, "flood"), make([]byte, 1400)...)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				from.send(t, f)
			}
		}
	}()
	count := func(d time.Duration) (bits float64) {
		for end := time.Now().Add(d); time.Now().Before(end); {
			got, _ := to.next(t, time.Until(end))
			bits += float64(8 * len(got))
		}
		return bits / d.Seconds()
	}
	count(time.Second)
	got := count(2 * time.Second)
	close(stop)
	<-done
	for f, _ := to.next(t, 300*time.Millisecond); f != nil; f, _ = to.next(t, 300*time.Millisecond) { // what still waits
	}
	return got
}
