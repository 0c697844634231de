package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kvmctl/ha/audit"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/wire"
)

// event is a change of role of a machine's agent, or of its power: on, off; or what this program did to it.
type event struct {
	at   time.Time // by this program's clock
	node string
	from string
	to   string
}

// journal keeps the events of all machines. It is safe for concurrent use.
type journal struct {
	mu      sync.Mutex
	events  []event
	last    map[string]time.Time     // of a node's entries, by its own clock
	offsets map[string]time.Duration // of a node's clock: what is added to it
	roles   map[string]string        // of a node, as its log has it; "": none since it has power
}

func (j *journal) note(node, from, to string) { j.noteAt(time.Now(), node, from, to) }

func (j *journal) noteAt(at time.Time, node, from, to string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event{at, node, from, to})
	if from == "" && to != "thawed" {
		j.roles[node] = ""
	}
}

// role is what a node's agent has said last.
func (j *journal) role(node string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.roles[node]
}

// begins passes over what a node has written to its log before now.
func (j *journal) begins(node string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if at := time.Now().Add(-j.offsets[node]); at.After(j.last[node]) {
		j.last[node] = at
	}
	j.roles[node] = ""
}

// took notes an entry of a node's audit log; its own clock counts where it agrees with ours within what following takes.
func (j *journal) took(node string, e audit.Entry) bool {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !e.Time.After(j.last[node]) {
		return false
	}
	j.last[node] = e.Time
	at := e.Time.Add(j.offsets[node])
	if late := now.Sub(at); late < 0 || late > 500*time.Millisecond {
		at = now
	}
	j.events = append(j.events, event{at, node, e.From, e.To})
	j.roles[node] = e.To
	return true
}

// since gives the events from a moment on, by time.
func (j *journal) since(from time.Time) []event {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all []event
	for _, e := range j.events {
		if !e.at.Before(from) {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b event) int { return a.at.Compare(b.at) })
	return all
}

// activeWhen says who of two was active when, from a moment on: "varda2 until 0.0 s, vm-varda from 6.1 s". first was so before.
func activeWhen(events []event, began time.Time, first string, of ...string) string {
	var said []string
	serves := map[string]bool{first: true}
	for _, e := range events {
		at := fmt.Sprintf("%.1f s", e.at.Sub(began).Seconds())
		switch {
		case !slices.Contains(of, e.node):
		case e.to == "active" && !serves[e.node]:
			serves[e.node] = true
			said = append(said, e.node+" from "+at)
		case serves[e.node] && (e.to == "off" || e.to == "dead" || e.from == "active"):
			serves[e.node] = false
			said = append(said, e.node+" until "+at)
		}
	}
	if len(said) == 0 {
		return first + " all the time"
	}
	return strings.Join(said, ", ")
}

// follow notes every change of role of a machine's agent, until the machine is off.
func (w *world) follow(m *machine, p *drbdlab.Port) {
	ctx := w.all
	w.readers.Go(func() {
		for {
			r, err := p.Exec(ctx, wire.Command{Argv: []string{"kvmha", "log", "-f", "--json"}}, &entries{w: w, name: m.name})
			if now, e := m.inside(); e != nil || now != p || ctx.Err() != nil {
				return // it has ended with the machine
			}
			say("the log of %s is followed anew: exit %d, %v, %v: %s", m.name, r.Exit, r.Signal, err, r.Stderr)
			_ = pause(ctx, 200*time.Millisecond) // then the next one ends at once
		}
	})
}

// entries takes `kvmha log -f --json`, a line at a time.
type entries struct {
	w    *world
	name string
	rest []byte
}

func (e *entries) Write(b []byte) (int, error) {
	e.rest = append(e.rest, b...)
	for {
		line, rest, whole := bytes.Cut(e.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		e.rest = rest
		var entry audit.Entry
		if json.Unmarshal(line, &entry) == nil && entry.Group != "" && e.w.journal.took(e.name, entry) && e.w.o.debug {
			say("%s %s", e.name, entry.Line())
		}
	}
}
