package check

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

func glancer(t *testing.T, s TCP) *tcpProbe {
	t.Helper()
	p, err := s.Probe(Env{})
	if err != nil {
		t.Fatal(err)
	}
	return p.(*tcpProbe)
}

func TestTCPGlance(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		p := glancer(t, TCP{Address: l.Addr().String()})
		seen := false
		for range 100 { // on a busy machine the kernel may do the handshake later, which is no answer
			p.slow = 0
			seen = seen || p.Glance(0)
		}
		if !seen {
			t.Errorf("%v: 100 glances see nothing", l.Addr())
		}
		if glancer(t, TCP{Address: l.Addr().String(), Expect: "220"}).Glance(0) {
			t.Error("a glance takes a connection for an answer")
		}
		l.Close()
		p.slow = 0
		if p.Glance(0) {
			t.Errorf("%v: a glance sees a server that has gone", l.Addr())
		}
	}
}

// A server that does not accept any more is not there, and one that a glance does not see is not bothered with twice the connections.
func TestTCPGlanceAtAFullQueue(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}
	p := glancer(t, TCP{Address: at.String()})
	for range 20 { // the first ones fill the queue
		p.Glance(0)
	}
	if p.slow != maxSlow || p.Glance(0) {
		t.Errorf("it looks on, after %d in vain", p.slow)
	}
}
