package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/failover"
	"kvmctl/internal/child"
)

// Message is an alert on its way. Webhooks and programs get it as JSON.
type Message struct {
	Version   int       `json:"version"` // of this form: 1
	ID        string    `json:"id"`      // the same at every try: whoever got it twice can tell
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`
	Group     string    `json:"group"`
	Addresses []string  `json:"addresses"`
	Kind      string    `json:"kind"`              // notice, first, reminder, end, test
	Subject   string    `json:"subject"`           // takeover, hand-over, nobody-active, check, …
	Name      string    `json:"name,omitempty"`    // of the check, the unit or the address
	Headline  string    `json:"headline"`          // one line in the language of mails
	Facts     []string  `json:"facts"`             // the first says what it is about
	Command   string    `json:"command,omitempty"` // what may be typed against it
	Since     time.Time `json:"since"`             // of the first alert of its kind; of a notice its own time
	Language  string    `json:"language"`
	Dropped   int       `json:"dropped,omitempty"` // older messages for which there was no room
}

// Bounds of a message from disk.
const (
	messageVersion = 1
	maxFacts       = 64
	maxMessage     = 64 << 10 // bytes of JSON
)

var errMessage = errors.New("not a message")

// kindTest is the kind of what `kvmha notify test` sends.
const kindTest = "test"

// newMessage puts an alert into words.
func newMessage(s ha.Spec, g ha.Group, a failover.Alert, now, since time.Time) Message {
	m := Message{Version: messageVersion, Time: now, Node: s.Node, Group: g.Name, Kind: a.Kind.String(), Subject: a.Subject.String(),
		Name: child.Printable(a.Name), Command: child.Printable(a.Command), Since: since, Language: string(s.Language), Facts: []string{}}
	for _, addr := range g.Addresses {
		m.Addresses = append(m.Addresses, addr.String())
	}
	for _, f := range a.Facts[:min(len(a.Facts), maxFacts)] {
		m.Facts = append(m.Facts, child.Printable(f))
	}
	m.Headline = headline(m)
	return m
}

// parseMessage reads one from disk.
func parseMessage(b []byte) (Message, error) {
	var m Message
	if len(b) > maxMessage {
		return m, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	if m.Version != messageVersion || m.ID == "" || m.Time.IsZero() || len(m.Facts) > maxFacts {
		return Message{}, errMessage
	}
	for _, s := range []*string{&m.ID, &m.Node, &m.Group, &m.Kind, &m.Subject, &m.Name, &m.Headline, &m.Command, &m.Language} {
		*s = child.Printable(*s)
	}
	for i := range m.Facts {
		m.Facts[i] = child.Printable(m.Facts[i])
	}
	return m, nil
}
