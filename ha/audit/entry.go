package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Entry is one change of role.
type Entry struct {
	Time   time.Time `json:"time"` // wall clock: for people, never for decisions
	Node   string    `json:"node"`
	Group  string    `json:"group"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason,omitempty"` // of waiting
	Event  string    `json:"event"`
	Cause  string    `json:"cause"`
	Facts  []string  `json:"facts,omitempty"` // what was known when it was decided
}

// Bounds of one entry. Causes hold words of checks and scripts.
const (
	maxText  = 1 << 10 // bytes of a text
	maxFacts = 64
	maxLine  = 256 << 10 // bytes of a line of the file: each byte may be written as \u00XX
)

// errEntry says that a line is no entry.
var errEntry = errors.New("not an entry")

// Line is the entry as the one line that logs get.
func (e Entry) Line() string {
	to := e.To
	if e.Reason != "" {
		to += " (" + e.Reason + ")"
	}
	moved, why := e.From+" -> "+to, e.Event+": "+e.Cause
	if e.From == e.To { // the reason alone has changed
		moved = "still " + to
	}
	if strings.HasPrefix(e.Cause, e.Event+" ") { // "deposed by 10.2.0.2"
		why = e.Cause
	}
	return e.Group + ": " + moved + ": " + why
}

// bounded gives the entry with texts that fit, each on one line.
func (e Entry) bounded() Entry {
	for _, s := range []*string{&e.Node, &e.Group, &e.From, &e.To, &e.Reason, &e.Event, &e.Cause} {
		*s = oneLine(*s)
	}
	facts := e.Facts[:min(len(e.Facts), maxFacts)]
	e.Facts = nil
	for _, f := range facts {
		e.Facts = append(e.Facts, oneLine(f))
	}
	return e
}

func oneLine(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	return s
}

// marshal gives the entry as a line of the file.
func (e Entry) marshal() ([]byte, error) {
	b, err := json.Marshal(e.bounded())
	return append(b, '\n'), err
}

// parse reads a line of the file.
func parse(line []byte) (Entry, error) {
	var e Entry
	if len(line) > maxLine {
		return e, fmt.Errorf("%w: %d bytes", errEntry, len(line))
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", errEntry, err)
	}
	if e.Time.IsZero() || e.Group == "" || e.To == "" {
		return Entry{}, errEntry
	}
	return e.bounded(), nil
}
