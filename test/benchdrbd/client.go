package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// A client asks again after askAgain, and writes its next line after pause.
const (
	askAgain = 20 * time.Millisecond
	pause    = 50 * time.Millisecond
)

// ack is a line that a node has said to be on its disk.
type ack struct {
	line string
	node string
	at   time.Time
}

// client writes numbered lines, one after the other, each until it is acknowledged.
type client struct {
	conn *net.UDPConn
	name string

	mu   sync.Mutex
	acks []ack

	ended chan struct{}
}

// newClient begins to write, until ctx ends.
func newClient(ctx context.Context, name, to string) (*client, error) {
	at, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp4", nil) // not connected: nobody's refusal is an error
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, name: name, ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	go func() {
		defer close(c.ended)
		defer stop()
		for n := 1; c.write(ctx, at, fmt.Sprintf("%s%d", name, n)); n++ {
		}
	}()
	return c, nil
}

func (c *client) write(ctx context.Context, to *net.UDPAddr, line string) bool {
	buf := make([]byte, 200)
	for ctx.Err() == nil {
		_, _ = c.conn.WriteToUDP([]byte(line), to) // nobody may have the address
		_ = c.conn.SetReadDeadline(time.Now().Add(askAgain))
		for {
			n, _, err := c.conn.ReadFromUDP(buf)
			if err != nil {
				break
			}
			if got, node, ok := strings.Cut(string(buf[:n]), " "); ok && got == line {
				c.mu.Lock()
				c.acks = append(c.acks, ack{line, node, time.Now()})
				c.mu.Unlock()
				time.Sleep(pause)
				return true
			}
		}
	}
	return false
}

// all gives what was acknowledged so far.
func (c *client) all() []ack {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]ack(nil), c.acks...)
}

// first waits for the first line that node acknowledges after some time.
func (c *client) first(ctx context.Context, node string, after time.Time) (time.Time, error) {
	for {
		if at, ok := firstOf(c.all(), node, after); ok {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("no line was acknowledged by %s: %w", node, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func firstOf(acks []ack, node string, after time.Time) (time.Time, bool) {
	for _, a := range acks {
		if a.node == node && a.at.After(after) {
			return a.at, true
		}
	}
	return time.Time{}, false
}

// outage is the longest time between two answers from the last one before from until the last one at all.
func outage(acks []ack, from time.Time) (longest time.Duration) {
	for i := 1; i < len(acks); i++ {
		if acks[i].at.After(from) {
			longest = max(longest, acks[i].at.Sub(acks[i-1].at))
		}
	}
	return longest
}

// lost gives the acknowledged lines that are not in the file.
func lost(acks []ack, file string) (all []string) {
	there := map[string]bool{}
	for line := range strings.Lines(file) {
		there[strings.TrimSuffix(line, "\n")] = true
	}
	for _, a := range acks {
		if !there[a.line] {
			all = append(all, a.line)
		}
	}
	return all
}
