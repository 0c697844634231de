package peer

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
)

// identity makes a key.
func identity(t *testing.T) *Identity {
	t.Helper()
	id, err := CreateIdentity(filepath.Join(t.TempDir(), Dir))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serve runs a server of a node named b, which knows the given nodes, on an address of the loopback; it gives what its clients know of it.
func serve(t *testing.T, id *Identity, known []Node, set func(*Server)) Node {
	t.Helper()
	return serveOn(t, "127.0.0.1:0", id, known, slog.New(slog.NewTextHandler(t.Output(), nil)), set)
}

func serveOn(t *testing.T, address string, id *Identity, known []Node, log *slog.Logger, set func(*Server)) Node {
	t.Helper()
	s := NewServer("b's version", log)
	if set != nil {
		set(s)
	}
	for i, n := range known {
		if n.Addresses == nil { // the clients of the tests are no strangers to the gate
			known[i].Addresses = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::1]:1")}
		}
	}
	s.Use(id, known)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return Node{Name: "b", Key: id.Public(), Addresses: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}}
}
