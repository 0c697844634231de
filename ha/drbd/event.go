package drbd

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Event is a line of `drbdsetup events2`, of DRBD 8.4 or 9.
type Event struct {
	Kind   string // exists, create, change, rename, destroy, call, response
	Object string // resource, device, connection, peer-device, path, helper; "-": what there was at the start has been told
	Fields []Field
}

// Field is one key:value.
type Field struct{ Key, Value string }

// Get is a field's value; "" when the event has none of the key.
func (e Event) Get(key string) string {
	for _, f := range e.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// Complete reports whether e ends the telling of what there was at the start.
func (e Event) Complete() bool { return e.Kind == "exists" && e.Object == "-" }

var (
	eventKinds   = []string{"exists", "create", "change", "rename", "destroy", "call", "response"}
	eventObjects = []string{"resource", "device", "connection", "peer-device", "path", "helper", "-"}
)

// ErrOutOfStep says that an event changes what nobody told of: something was lost, so the state has to be asked for anew.
var ErrOutOfStep = errors.New("an event about something that was never told of")

// ParseEvent reads one line, with or without the time that --timestamps puts first.
func ParseEvent(line string) (Event, error) {
	line = strings.TrimSuffix(line, "\n")
	if len(line) > maxLine {
		return Event{}, fmt.Errorf("event: %w", ErrTooLong)
	}
	words := strings.Fields(line)
	if len(words) > 0 && strings.Contains(words[0], "T") && strings.Trim(words[0], "0123456789-+:.TZ") == "" {
		words = words[1:]
	}
	if len(words) < 2 || !slices.Contains(eventKinds, words[0]) || !slices.Contains(eventObjects, words[1]) {
		return Event{}, fmt.Errorf("event %q: it is none of events2", clip(line))
	}
	e := Event{Kind: words[0], Object: words[1]}
	for _, w := range words[2:] {
		key, value, ok := strings.Cut(w, ":")
		if !ok || key == "" {
			return Event{}, fmt.Errorf("event %q: %q is no key:value", clip(line), clip(w))
		}
		e.Fields = append(e.Fields, Field{key, value})
	}
	if e.Object != "-" && e.Get("name") == "" {
		return Event{}, fmt.Errorf("event %q: no name", clip(line))
	}
	return e, nil
}

// clip shortens what is quoted.
func clip(s string) string { return s[:min(len(s), 120)] }

// ParseEvents reads the answer to `drbdsetup events2 --now`: what there is. One that was cut off is ErrCutOff.
func ParseEvents(data []byte) (State, error) {
	if err := bounded(data); err != nil {
		return State{}, fmt.Errorf("events: %w", err)
	}
	var s State
	complete := false
	for line := range bytes.Lines(data) {
		e, err := ParseEvent(string(line))
		if err == nil {
			err = s.Apply(e)
		}
		if err != nil {
			return State{}, err
		}
		complete = complete || e.Complete()
	}
	if !complete {
		return State{}, fmt.Errorf("events: %w", ErrCutOff)
	}
	return s, nil
}

// Apply carries an event over into the state. After an error the state is as it was. Helpers and paths change nothing.
func (s *State) Apply(e Event) error {
	next := s.clone()
	if err := next.apply(e); err != nil {
		return fmt.Errorf("event %s %s %s: %w", e.Kind, e.Object, e.Get("name"), err)
	}
	if next.parts() > maxParts {
		return fmt.Errorf("event %s %s: %w", e.Kind, e.Object, ErrTooLong)
	}
	*s = next
	return nil
}

func (s State) parts() int {
	n := len(s.Resources)
	for _, r := range s.Resources {
		n += len(r.Volumes) + len(r.Peers)
		for _, p := range r.Peers {
			n += len(p.Volumes)
		}
	}
	return n
}

func (s *State) apply(e Event) error {
	if e.Kind == "call" || e.Kind == "response" || e.Object == "path" || e.Object == "-" || e.Object == "helper" {
		return nil
	}
	name := e.Get("name")
	i := s.index(name)
	if e.Object == "resource" {
		return s.applyResource(e, i, name)
	}
	if i < 0 {
		return ErrOutOfStep
	}
	r := &s.Resources[i]
	if e.Object == "device" {
		return part(e, &r.Volumes, "volume", func(v Volume) int { return v.Number }, Volume{Minor: -1})
	}
	if e.Object == "connection" {
		return part(e, &r.Peers, "peer-node-id", func(p Peer) int { return p.NodeID }, Peer{})
	}
	id, err := number("peer-node-id", e.Get("peer-node-id"))
	if err != nil {
		return err
	}
	at := slices.IndexFunc(r.Peers, func(p Peer) bool { return p.NodeID == id })
	if at < 0 {
		return ErrOutOfStep
	}
	return part(e, &r.Peers[at].Volumes, "volume", func(v PeerVolume) int { return v.Number }, PeerVolume{})
}

func (s *State) applyResource(e Event, i int, name string) error {
	switch {
	case e.Kind == "exists" || e.Kind == "create":
		if i < 0 {
			s.Resources, i = append(s.Resources, Resource{Name: name}), len(s.Resources)
		}
	case i < 0:
		return ErrOutOfStep
	case e.Kind == "destroy":
		s.Resources = slices.Delete(s.Resources, i, i+1)
		return nil
	case e.Kind == "rename":
		to := e.Get("new_name")
		if to == "" || s.index(to) >= 0 {
			return ErrOutOfStep
		}
		s.Resources[i].Name = to
		return nil
	}
	for _, f := range e.Fields {
		if err := s.Resources[i].set(f.Key, f.Value); err != nil {
			return err
		}
	}
	return nil
}

// settable is a part of a resource that takes keys.
type settable[T any] interface {
	*T
	set(key, value string) error
}

// part carries an event about one of a list's elements, which key tells apart, over into the list. One that exists already is told anew.
func part[T any, P settable[T]](e Event, list *[]T, key string, id func(T) int, fresh T) error {
	n, err := number(key, e.Get(key))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(*list, func(v T) bool { return id(v) == n })
	switch {
	case e.Kind == "exists" || e.Kind == "create":
		if i < 0 {
			*list, i = append(*list, fresh), len(*list)
		}
	case i < 0:
		return ErrOutOfStep
	case e.Kind == "destroy":
		*list = slices.Delete(*list, i, i+1)
		return nil
	}
	for _, f := range e.Fields {
		if err := P(&(*list)[i]).set(f.Key, f.Value); err != nil {
			return err
		}
	}
	return nil
}
