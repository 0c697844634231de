package qmp_test

import (
	"testing"

	"kvmctl/vm/qmp"
)

// BenchmarkRealQEMU asks a local QEMU for its status: on a connection that stays, and as every kvmctl command does, from dial to close (wanted: 1 ms).
func BenchmarkRealQEMU(b *testing.B) {
	g := startQEMU(b, 1)
	ctx := b.Context()
	ask := func(b *testing.B, c *qmp.Client) {
		var s struct{ Status string }
		if err := c.Execute(ctx, "query-status", nil, &s); err != nil || s.Status != "prelaunch" {
			b.Fatal(s, err)
		}
	}
	dial(b, g.sockets[0]).Close() // QEMU is up from here on
	b.Run("dial-query-close", func(b *testing.B) {
		for b.Loop() {
			c, err := qmp.Dial(ctx, g.sockets[0])
			if err != nil {
				b.Fatal(err)
			}
			ask(b, c)
			c.Close()
		}
	})
	b.Run("query", func(b *testing.B) {
		c := dial(b, g.sockets[0])
		for b.Loop() {
			ask(b, c)
		}
		c.Close()
	})
}
