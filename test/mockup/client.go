package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kvmctl/ha/check"
	"kvmctl/internal/ping"
)

// How long a client waits for an answer.
const (
	patience  = 700 * time.Millisecond // for a line; then it connects anew
	pingEvery = 50 * time.Millisecond
	lineEvery = 20 * time.Millisecond
)

// answers are the moments at which somebody was answered. They are safe for concurrent use.
type answers struct {
	mu sync.Mutex
	at []time.Time
}

func (a *answers) add(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, t)
}

// away is the longest time without an answer that ends behind a moment, and goes on until another one at most.
func (a *answers) away(from, until time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, longest := time.Time{}, time.Duration(0)
	for _, t := range append(a.at[:len(a.at):len(a.at)], until) {
		if t.After(until) {
			t = until
		}
		if t.After(from) {
			if last.IsZero() {
				last = from
			}
			longest = max(longest, t.Sub(last))
		}
		last = t
	}
	return longest
}

// count is how many there were.
func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

// first is the first answer behind a moment; zero: there is none.
func (a *answers) first(from time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.at {
		if t.After(from) {
			return t
		}
	}
	return time.Time{}
}

// client writes numbered lines to the share by way of its service, each a line ahead of the next one, and keeps which were acknowledged.
type client struct {
	answers
	last  int
	acked []int
}

// run writes until ctx ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		c.connection(ctx)
		_ = pause(ctx, 20*time.Millisecond) // then ctx has ended
	}
}

func (c *client) connection(ctx context.Context) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", vardaAddress+":445")
	if err != nil {
		return
	}
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for ctx.Err() == nil {
		c.mu.Lock()
		c.last++
		n := c.last
		c.mu.Unlock()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintln(conn, n); err != nil {
			return
		}
		said, err := lines.ReadString('\n')
		if err != nil || strings.TrimSpace(said) != strconv.Itoa(n) {
			return
		}
		now := time.Now()
		c.mu.Lock()
		c.acked, c.at = append(c.acked, n), append(c.at, now)
		c.mu.Unlock()
		_ = pause(ctx, lineEvery) // then ctx has ended
	}
}

// acknowledged are the lines that were, until now.
func (c *client) acknowledged() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.acked)
}

// missing are the lines that are not in a text.
func missing(acked []int, text string) (lost []int) {
	there := map[string]bool{}
	for line := range strings.Lines(text) {
		there[strings.TrimSpace(line)] = true
	}
	for _, n := range acked {
		if !there[strconv.Itoa(n)] {
			lost = append(lost, n)
		}
	}
	return lost
}

// forget begins a new file.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = nil
}

// pings asks an address for echoes until ctx ends.
func (a *answers) pings(ctx context.Context, address string) {
	addr := netip.MustParseAddr(address)
	for ctx.Err() == nil {
		if ping.Once(ctx, addr, 2*pingEvery) == nil {
			a.add(time.Now())
			_ = pause(ctx, pingEvery)
		} else {
			_ = pause(ctx, pingEvery/5) // an address that is known to be nowhere is refused at once
		}
	}
}

// asks asks olorin for a name until ctx ends.
func (a *answers) asks(ctx context.Context) {
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", dnsAddress+":53")
	}}
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, 4*pingEvery)
		_, err := resolver.LookupNetIP(within, "ip4", "www.iut.example.")
		cancel()
		if err == nil {
			a.add(time.Now())
		}
		_ = pause(ctx, pingEvery/2)
	}
}

// offers fails unless a machine, and nobody else, offers an address by DHCP: kvmha's own check asks.
func (w *world) offers(ctx context.Context, m *machine) error {
	probe, err := check.DHCP{Interface: "lan", Discover: true, MAC: "02:00:00:00:00:01", ServerID: m.lan}.Probe(check.Env{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	defer probe.Close()
	return probe.Ask(ctx)
}
