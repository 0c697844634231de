package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// The switches' ports at hostLAN.
const (
	pduPort     = 4700 // varda2 and olorin2 have their plugs there
	valinorPort = 4701 // the host of vm-varda and vm-olorin: `kvmctl fence`
)

// power is a PDU, and the way to valinor: what a member's fence agent talks to, over the service link.
type power struct {
	w        *world
	silent   atomic.Bool  // the PDU takes what it is told, and does and says nothing
	hostDown atomic.Bool  // valinor is without power: nobody answers there
	asked    atomic.Int64 // how often somebody was to be switched off
}

// serve answers at both ports until ctx ends.
func (p *power) serve(ctx context.Context) error {
	for _, port := range []int{pduPort, valinorPort} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("%s:%d", hostLAN, port))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { l.Close() })
		p.w.readers.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return // it was closed
				}
				p.w.readers.Go(func() {
					stop := context.AfterFunc(ctx, func() { c.Close() })
					defer stop()
					defer c.Close()
					p.answer(ctx, c, port)
				})
			}
		})
	}
	return nil
}

// answer takes one line: what to do, with whose plug, for whom.
func (p *power) answer(ctx context.Context, c net.Conn, port int) {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 3 {
		return
	}
	action, plug, node := words[0], words[1], words[2]
	if action == "off" {
		p.asked.Add(1)
	}
	if port == pduPort && p.silent.Load() || port == valinorPort && p.hostDown.Load() {
		_, _ = c.Read(make([]byte, 1)) // until who asks has enough of it
		return
	}
	said, err := p.act(ctx, action, plug, node, port == pduPort)
	if err != nil {
		said = err.Error()
	}
	fmt.Fprintln(c, said)
}

func (p *power) act(ctx context.Context, action, plug, node string, pdu bool) (string, error) {
	m := p.w.machines[plug]
	switch {
	case m == nil || m.physical != pdu:
		return "", fmt.Errorf("%s has no plug here", plug)
	case action == "off" && pdu:
		say("the PDU switches %s off for %s", plug, node)
		if err := m.cut(ctx); err != nil {
			return "", err
		}
	case action == "off":
		say("valinor fences %s for %s", plug, node)
		number := make([]byte, 16)
		_, _ = rand.Read(number) // never fails (crypto/rand)
		m.power.Lock()
		defer m.power.Unlock()
		if _, err := p.w.kvmctl(ctx, "fence", plug, "--for", node, "--request", fmt.Sprintf("%x", number)); err != nil {
			return "", err
		}
		m.gone()
	}
	runs, err := m.running(ctx)
	if err != nil {
		return "", err
	}
	return map[bool]string{true: "ON", false: "OFF"}[runs], nil
}
