package check

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// oneQuestion answers the next question that comes to c, or only reads it, and gives the port it came from.
func oneQuestion(t *testing.T, c net.PacketConn, answer bool) (port int, late func()) {
	t.Helper()
	buf := make([]byte, 512)
	n, from, err := c.ReadFrom(buf)
	if err != nil {
		t.Error(err)
		return 0, func() {}
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil {
		t.Error(err)
		return 0, func() {}
	}
	m.Response = true
	m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
		Body: &dnsmessage.AResource{A: [4]byte{10, 2, 0, 10}}}}
	packed, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	send := func() {
		if _, err := c.WriteTo(packed, from); err != nil {
			t.Error(err)
		}
	}
	if answer {
		send()
	}
	return from.(*net.UDPAddr).Port, send
}

// Ten questions leave one socket; one that was not answered is the last of its own, so that what comes late reaches nobody.
func TestDNSKeepsItsSocketWhileAllIsWell(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	p, err := DNS{Address: c.LocalAddr().String(), Name: "www.example.org"}.Probe(Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ask := func(answer bool) (port int, late func(), err error) {
		within := 20 * time.Second
		if !answer {
			within = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Ask(ctx) }()
		port, late = oneQuestion(t, c, answer)
		return port, late, <-done
	}
	var ports []int
	for range 2 * questionsPerSocket {
		port, _, err := ask(true)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	if n := len(slices.Compact(ports)); n != 2 {
		t.Errorf("%d questions left %d sockets, want 2", 2*questionsPerSocket, n)
	}
	first, _, err := ask(true)
	if err != nil {
		t.Fatal(err)
	}
	silent, late, err := ask(false)
	if err == nil || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("an answer that never came: %v", err)
	}
	late()
	next, _, err := ask(true)
	if err != nil || first != silent || next == silent {
		t.Errorf("ports %d, %d (not answered), %d: %v", first, silent, next, err)
	}
}
