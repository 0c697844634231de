package netbridge_test

import (
	"fmt"
	"testing"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
)

// crowd puts 50 guests on the bridge, so that what depends on their number shows.
func crowd(b *testing.B, w *world) {
	b.Helper()
	for i := range 50 {
		w.open(b, netbridge.TAP{Name: fmt.Sprintf("kx%d.0", i), Alias: netbridge.TAPAlias(fmt.Sprint("vm", i), 0), Bridge: "br0", Queues: 1, MAC: units.DeriveMAC(fmt.Sprint(i))})
	}
}

func BenchmarkNewKernel(b *testing.B) {
	newWorld(b)
	for b.Loop() {
		k, err := netbridge.NewKernel()
		if err != nil {
			b.Fatal(err)
		}
		k.Close()
	}
}

func BenchmarkEnsureWhenNothingIsMissing(b *testing.B) {
	w := newWorld(b)
	want := declared("br0", "br1", "br2")
	if _, err := netbridge.Ensure(b.Context(), w, want); err != nil {
		b.Fatal(err)
	}
	crowd(b, w)
	for b.Loop() {
		if steps, err := netbridge.Ensure(b.Context(), w, want); err != nil || len(steps) > 0 {
			b.Fatal(steps, err)
		}
	}
}

func BenchmarkEnsureMakesABridge(b *testing.B) {
	w := newWorld(b)
	want := declared("br0")
	for b.Loop() {
		if steps, err := netbridge.Ensure(b.Context(), w, want); err != nil || len(steps) == 0 {
			b.Fatal(steps, err)
		}
		b.StopTimer()
		if err := w.DeleteBridge(b.Context(), "br0"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkOpenTAP(b *testing.B) {
	for _, queues := range []int{1, 2} {
		b.Run(fmt.Sprint("queues=", queues), func(b *testing.B) {
			w := withBridge(b, 1500)
			for b.Loop() {
				files, err := w.OpenTAP(b.Context(), olorin(queues))
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				for _, f := range files {
					f.Close()
				}
				b.StartTimer()
			}
		})
	}
}

func BenchmarkShowWith50Guests(b *testing.B) {
	w := withBridge(b, 1500)
	crowd(b, w)
	for b.Loop() {
		if _, err := netbridge.Show(b.Context(), w, declared("br0")); err != nil {
			b.Fatal(err)
		}
	}
}
