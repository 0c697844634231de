package peer

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// recorder keeps what a client sends.
type recorder struct {
	mu  sync.Mutex
	all []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, p...)
	return len(p), nil
}

func (r *recorder) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]byte(nil), r.all...)
}

// tapped gives the node behind a wire on which somebody listens.
func tapped(t *testing.T, n Node, rec *recorder) Node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	behind := n.Addresses[0].String()
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		to, err := net.Dial("tcp", behind)
		if err != nil {
			t.Error(err)
			return
		}
		all.Go(func() {
			defer c.Close()
			_, _ = io.Copy(c, to)
		})
		defer to.Close()
		_, _ = io.Copy(io.MultiWriter(to, rec), c)
	})
	n.Addresses = []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}
	return n
}
