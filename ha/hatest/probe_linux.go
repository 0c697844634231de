package hatest

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// probeEvery is the time between two questions of a client.
const probeEvery = 5 * time.Millisecond

// Answer is one answer that the client got.
type Answer struct {
	Sent, At time.Time
	Node     string
}

// Probe is a client that asks an address every 5 ms who it is.
type Probe struct {
	conn net.PacketConn
	quit chan struct{}
	all  sync.WaitGroup

	mu      sync.Mutex
	sent    []time.Time
	answers []Answer
}

// Probe starts to ask addr from the client. Stop ends it; so does the lab.
func (l *Lab) Probe(addr netip.Addr) (*Probe, error) {
	p := &Probe{quit: make(chan struct{})}
	network := "udp4"
	if addr.Is6() {
		network = "udp6"
	}
	if err := l.Client.Do(func() (err error) {
		var lc net.ListenConfig
		p.conn, err = lc.ListenPacket(context.Background(), network, ":0")
		return err
	}); err != nil {
		return nil, fmt.Errorf("open a client: %w", err)
	}
	p.all.Go(func() { p.ask(echoAt(addr)) })
	p.all.Go(p.listen)
	l.atEnd(func() error { p.Stop(); return nil })
	return p, nil
}

func (p *Probe) ask(to *net.UDPAddr) {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		p.mu.Lock()
		p.sent = append(p.sent, time.Now())
		question := binary.BigEndian.AppendUint32(nil, uint32(len(p.sent)-1))
		p.mu.Unlock()
		_, _ = p.conn.WriteTo(question, to) // EHOSTUNREACH while nobody has it is a question without an answer
		select {
		case <-t.C:
		case <-p.quit:
			return
		}
	}
}

func (p *Probe) listen() {
	buf := make([]byte, 512)
	for {
		k, _, err := p.conn.ReadFrom(buf)
		at := time.Now()
		if err != nil {
			select {
			case <-p.quit:
				return
			default:
				continue // ECONNREFUSED and the like
			}
		}
		if k < 4 {
			continue
		}
		p.mu.Lock()
		if i := int(binary.BigEndian.Uint32(buf)); i < len(p.sent) {
			p.answers = append(p.answers, Answer{p.sent[i], at, string(buf[4:k])})
		}
		p.mu.Unlock()
	}
}

// Stop ends the client.
func (p *Probe) Stop() Answers {
	p.mu.Lock()
	select {
	case <-p.quit:
	default:
		close(p.quit)
		p.conn.Close()
	}
	p.mu.Unlock()
	p.all.Wait()
	return p.Answers()
}

// Answers gives what came up to now, in the order of arrival.
func (p *Probe) Answers() Answers {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(Answers(nil), p.answers...)
}

// From waits for an answer of a node to a question that was sent after a time, and tells how much later than that it came.
func (p *Probe) From(ctx context.Context, node string, after time.Time) (took time.Duration, err error) {
	seen := 0
	err = until(ctx, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for ; seen < len(p.answers); seen++ {
			if a := p.answers[seen]; a.Node == node && a.Sent.After(after) {
				took = a.At.Sub(after)
				return true
			}
		}
		return false
	})
	if err != nil {
		err = fmt.Errorf("no answer from %s: %w", node, err)
	}
	return took, err
}

// Answers are in the order of their arrival.
type Answers []Answer

// Takeover is the time from an event to the first answer of a node that came after it; false: there was none.
func (a Answers) Takeover(event time.Time, node string) (time.Duration, bool) {
	for _, x := range a {
		if x.Node == node && x.At.After(event) {
			return x.At.Sub(event), true
		}
	}
	return 0, false
}

// Outage is the longest time between two answers that followed each other, the later one after from and the former before to; without any
// it is the whole time.
func (a Answers) Outage(from, to time.Time) time.Duration {
	last, next := a.Longest(from, to)
	return next.Sub(last)
}

// Longest gives when an Outage began and ended.
func (a Answers) Longest(from, to time.Time) (begin, end time.Time) {
	last := from
	longer := func(next time.Time) {
		if begin.IsZero() || next.Sub(last) > end.Sub(begin) {
			begin, end = last, next
		}
		last = next
	}
	for _, x := range a {
		if x.At.Before(from) {
			last = x.At
			continue
		}
		longer(x.At)
		if x.At.After(to) {
			return begin, end
		}
	}
	if to.After(last) {
		longer(to)
	}
	return begin, end
}
