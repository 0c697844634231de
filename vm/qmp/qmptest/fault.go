package qmptest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Fault is one way to treat one command wrongly.
type Fault struct {
	kind faultKind
	n    int
	text string
}

type faultKind int

const (
	stall faultKind = iota
	late
	truncate
	big
	reset
	garbage
	flood
	twice
	wrongID
	noID
	refuse
)

// Each fault is used up by one command.

// Stall never answers.
func Stall() Fault { return Fault{kind: stall} }

// Late answers when Release is called (an Agent: before its next answer).
func Late() Fault { return Fault{kind: late} }

// Truncate sends half of the answer, then the end.
func Truncate() Fault { return Fault{kind: truncate} }

// Big answers with a string of n bytes.
func Big(n int) Fault { return Fault{kind: big, n: n} }

// Reset ends the connection in place of an answer.
func Reset() Fault { return Fault{kind: reset} }

// Garbage sends these bytes, then the answer.
func Garbage(bytes string) Fault { return Fault{kind: garbage, text: bytes} }

// Flood sends n events FLOOD {"n": i}, then the answer.
func Flood(n int) Fault { return Fault{kind: flood, n: n} }

// Twice sends the answer twice.
func Twice() Fault { return Fault{kind: twice} }

// WrongID sends somebody else's answer, then the right one.
func WrongID() Fault { return Fault{kind: wrongID} }

// NoID sends an answer without an id, then the right one.
func NoID() Fault { return Fault{kind: noID} }

// Refuse answers with an error.
func Refuse(class, desc string) Fault { return Fault{kind: refuse, text: class + "\x00" + desc} }

// misbehave answers wrongly; false ends the connection. For the greeting, body is the whole line and id is "".
func (p *Peer) misbehave(c *client, f Fault, body, id string) bool {
	line := body
	if !strings.HasPrefix(body, "{") {
		line = object(body, id)
	}
	switch f.kind {
	case stall:
	case late:
		p.mu.Lock()
		p.held = append(p.held, func() { c.send(line) })
		p.mu.Unlock()
	case truncate:
		_, _ = io.WriteString(c.conn, line[:len(line)/2])
		return false
	case big:
		c.send(`{"return": "` + strings.Repeat("x", f.n) + `"` + id + "}")
	case reset:
		return false
	case garbage:
		_, _ = io.WriteString(c.conn, f.text)
		c.send(line)
	case flood:
		for i := range f.n {
			c.send(event("FLOOD", fmt.Sprintf(`{"n": %d}`, i)))
		}
		c.send(line)
	case twice:
		c.send(line)
		c.send(line)
	case wrongID:
		c.send("{" + `"return": {"of": "somebody else"}, "id": "0-0"}`)
		c.send(line)
	case noID:
		c.send(`{"return": {"of": "somebody else"}}`)
		c.send(line)
	case refuse:
		class, desc, _ := strings.Cut(f.text, "\x00")
		e, _ := json.Marshal(map[string]string{"class": class, "desc": desc})
		c.send(object(`"error": `+string(e), id))
	}
	return true
}
