package drbd

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ParseStatus reads the text of `drbdsetup status` or `drbdadm status`, with or without --verbose and --statistics, of DRBD 8.4 or 9. What the short
// form leaves out is what holds where nothing is said. 8.4 tells of no StandAlone connection, so a resource without peers is one that does not connect.
func ParseStatus(data []byte) (State, error) {
	if err := bounded(data); err != nil {
		return State{}, fmt.Errorf("status: %w", err)
	}
	var s State
	set := unplaced
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.TrimRightFunc(string(line), unicode.IsSpace)
		if text == "" || strings.HasPrefix(text, "#") { // "# No currently configured DRBD found."
			continue
		}
		var err error
		set, err = s.statusLine(text, set)
		if err == nil && s.parts() > maxParts {
			err = ErrTooLong
		}
		if err != nil {
			return State{}, fmt.Errorf("status line %d: %w", number, err)
		}
	}
	for i := range s.Resources {
		s.Resources[i].finish()
	}
	return s, nil
}

// setter takes a key of whatever the lines before were about.
type setter func(key, value string) error

func unplaced(string, string) error { return errors.New("it is about no resource") }

// statusLine carries a line over, and says what the next line goes on with if it does not begin something new.
func (s *State) statusLine(text string, set setter) (setter, error) {
	if len(text) > maxLine {
		return nil, ErrTooLong
	}
	indent := len(text) - len(strings.TrimLeft(text, " "))
	words := strings.Fields(text)
	key, _, keyed := strings.Cut(words[0], ":")
	var r *Resource
	if n := len(s.Resources); n > 0 {
		r = &s.Resources[n-1]
	}
	switch {
	case indent == 0:
		if keyed || s.index(words[0]) >= 0 {
			return nil, fmt.Errorf("%q is no new resource", clip(words[0]))
		}
		s.Resources = append(s.Resources, Resource{Name: words[0]})
		r, words = &s.Resources[len(s.Resources)-1], words[1:]
		set = r.set
	case r == nil:
		return nil, unplaced("", "")
	case indent == 2 && !keyed:
		r.Peers = append(r.Peers, Peer{Name: words[0]})
		set, words = r.Peers[len(r.Peers)-1].set, words[1:]
	case indent == 2:
		r.Volumes = append(r.Volumes, Volume{Minor: -1})
		set = r.Volumes[len(r.Volumes)-1].set
	case indent == 4 && len(r.Peers) > 0 && (key == "volume" || key == "replication" || key == "peer-disk"):
		p := &r.Peers[len(r.Peers)-1]
		p.Volumes = append(p.Volumes, PeerVolume{})
		set = p.Volumes[len(p.Volumes)-1].set
	}
	for _, w := range words {
		key, value, ok := strings.Cut(w, ":")
		if !ok {
			return nil, fmt.Errorf("%q is no key:value", clip(w))
		}
		if err := set(key, value); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// finish puts in what the short form leaves out.
func (r *Resource) finish() {
	for i := range r.Peers {
		p := &r.Peers[i]
		if p.Connection == NoConnection && p.Role != NoRole {
			p.Connection = Connected
		}
		for j := range p.Volumes {
			if v := &p.Volumes[j]; v.Replication == NoReplication {
				v.Replication = Off
				if p.Connection == Connected {
					v.Replication = Established
				}
			}
		}
	}
}
