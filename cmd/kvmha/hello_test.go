package main

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/hatest"
	"kvmctl/ha/peer"
)

// firstFlight is what crypto/tls sends first: a hello that costs the other side a handshake.
func firstFlight(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	sent := make(chan []byte)
	go func() {
		b := make([]byte, 64<<10)
		n, _ := there.Read(b)
		there.Close()
		sent <- b[:n]
	}()
	c := tls.Client(here, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"kvmha"}})
	_ = c.HandshakeContext(t.Context()) // nobody answers
	return <-sent
}

// Strangers that knock as fast as one sender can, with good hellos, bad ones and none at all: the adverts are on time, by the agent's own stamps, the
// peer is seen as before, and the log has one line.
func TestAFloodOfHellosToThePeerChannel(t *testing.T) {
	s := start(t)
	a, b := s.paired(func(n *hatest.Node) netip.Addr { return n.Addr }, "")
	b.sees("active")
	hello := firstFlight(t)
	before, sent := resident(t, a.Pid()), a.web().CARP.Sent
	to := netip.AddrPortFrom(a.node.Addr, peer.Port).String()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	n, lost := 0, 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); n++ {
		var c net.Conn
		if err := s.lab.Client.Do(func() (err error) { c, err = net.DialTimeout("tcp4", to, time.Second); return err }); err != nil {
			lost++ // the kernel's queue is full
			continue
		}
		switch n % 4 {
		case 0:
			_, _ = c.Write(hello)
		case 1:
			_, _ = c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		case 2:
			_, _ = c.Write(hello[:len(hello)/2])
			if len(open) < 200 {
				open = append(open, c)
				continue
			}
		}
		c.Close()
	}
	after, g := resident(t, a.Pid()), a.web()
	st, err := a.status()
	s.must(err)
	t.Logf("%d connections, %d lost; %d adverts, %.0f ms late at most, a turn of the loop %.0f ms apart; %d MiB before, %d after", n, lost, g.CARP.Sent-sent,
		1000*g.CARP.Late, 1000*st.Loop.Longest, before, after)
	if g.CARP.Sent-sent < 3 || g.CARP.Late > 1 {
		t.Errorf("adverts are late: %+v", g.CARP)
	}
	if after > before+64 {
		t.Errorf("%d MiB more", after-before)
	}
	if lines := strings.Count(a.Output(), `msg="refused connections to the peer channel"`); lines != 1 {
		t.Errorf("%d lines about it within a minute, want 1", lines)
	}
	var last ha.Status
	if hatest.Until(s.ctx, func() bool {
		last, err = b.status()
		return err == nil && last.Peers[0].Wrong == "" && *last.Peers[0].Seen < 2
	}) != nil {
		t.Errorf("b does not see a any more: %+v, %v", last.Peers, err)
	}
	a.wentThrough("starting>standby standby>promoting promoting>active")
	b.wentThrough("starting>standby")
	s.held("a")
}
