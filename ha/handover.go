package ha

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/carp"
	"kvmctl/ha/check"
	"kvmctl/ha/confsync"
	"kvmctl/ha/failover"
	"kvmctl/ha/link"
	"kvmctl/ha/peer"
)

// handoverVersion is that of the state that one program leaves to the next when an agent is replaced in place. A program that finds another
// version begins anew: its groups are waiting, and what it finds of its own addresses is removed.
const handoverVersion = 2

// maxHandover bounds the state, in bytes.
const maxHandover = 16 << 20

// Handover is what outlives an exec: everything that a group's machines know, and the descriptors that stay open.
type Handover struct {
	Version  int             `json:"version"`
	BootID   string          `json:"boot_id"`
	Made     time.Duration   `json:"made"`  // since boot
	Began    time.Duration   `json:"began"` // the first program, since boot
	Restarts int             `json:"restarts"`
	Control  int             `json:"control"` // the control socket's descriptor; -1: none
	Held     []link.Held     `json:"held"`
	Ports    []portHandover  `json:"ports,omitempty"`
	Node     *savedSpec      `json:"node,omitempty"` // nil: of a program that did not leave it yet
	Groups   []groupHandover `json:"groups"`
}

// Spec is what the program before was about when it ended: for one that takes over and cannot read the file.
func (h *Handover) Spec() Spec {
	var s Spec
	if h.Node != nil {
		s = h.Node.spec()
	}
	for _, g := range h.Groups {
		s.Groups = append(s.Groups, g.Spec.spec())
	}
	return s
}

// savedSpec is a Spec without its groups, but with the passwords that never write themselves.
type savedSpec struct {
	File     string
	Node     string
	Mail     savedMail
	Webhook  savedWebhook
	Command  Command
	Log      Log
	Language Language
	Channel  Channel
	Peers    []peer.Node     `json:",omitempty"`
	Arbiter  []arbiter.Group `json:",omitempty"`
	Etcd     arbiter.EtcdAt  `json:",omitzero"`
	Syncs    []confsync.Job  `json:",omitempty"`
	Fences   []savedFence    `json:",omitempty"`
}

type savedFence struct {
	Fence
	Password string // encoding/json takes it instead of the Fence's own
}

type savedMail struct {
	Mail
	Password string // encoding/json takes it instead of the Mail's own
}

type savedWebhook struct {
	Webhook
	Token string // likewise
}

func savedSpecOf(s Spec) *savedSpec {
	var fences []savedFence
	for _, f := range s.Fences {
		fences = append(fences, savedFence{f, f.Password.Reveal()})
	}
	return &savedSpec{
		File: s.File, Node: s.Node, Mail: savedMail{s.Mail, s.Mail.Password.Reveal()}, Webhook: savedWebhook{s.Webhook, s.Webhook.Token.Reveal()},
		Command: s.Command, Log: s.Log, Language: s.Language, Channel: s.Channel, Peers: s.Peers, Arbiter: s.Arbiter, Etcd: s.Etcd,
		Syncs: s.Syncs, Fences: fences,
	}
}

func (s *savedSpec) spec() Spec {
	mail, hook := s.Mail.Mail, s.Webhook.Webhook
	mail.Password, hook.Token = NewSecret(s.Mail.Password), NewSecret(s.Webhook.Token)
	var fences []Fence
	for _, f := range s.Fences {
		f.Fence.Password = NewSecret(f.Password)
		fences = append(fences, f.Fence)
	}
	return Spec{File: s.File, Node: s.Node, Mail: mail, Webhook: hook, Command: s.Command, Log: s.Log, Language: s.Language,
		Channel: s.Channel, Peers: s.Peers, Arbiter: s.Arbiter, Etcd: s.Etcd, Syncs: s.Syncs, Fences: fences}
}

// portHandover is a CARP socket: what is heard while neither program reads waits in it.
type portHandover struct {
	Interface string   `json:"interface"`
	Index     int      `json:"index"` // of the interface, to tell it from one of the same name that came later
	FD        int      `json:"fd"`
	file      *os.File // what keeps FD open until the exec
}

// descriptors are all that stay open, but that of the state itself.
func (h *Handover) descriptors() (fds []int) {
	if h.Control >= 0 {
		fds = append(fds, h.Control)
	}
	for _, p := range h.Ports {
		fds = append(fds, p.FD)
	}
	return fds
}

// groupHandover is one group's part.
type groupHandover struct {
	Spec        savedGroup       `json:"spec"` // what its machines were built from, whatever the file says by now
	Failover    failover.Resumed `json:"failover"`
	CARP        *carp.Resumed    `json:"carp,omitempty"` // nil: of a program that did not leave it yet
	Maintenance bool             `json:"maintenance"`
	Moves       int              `json:"moves"`
	Heartbeat   bool             `json:"heartbeat,omitempty"` // it decided
}

// savedGroup is a Group with its password, which never writes itself. Only the memory that an exec leaves to the next program has it.
type savedGroup struct {
	Group
	Password string         // encoding/json takes it instead of the Group's own
	Secrets  map[int]string `json:",omitempty"` // of its checks, by their place among these
}

func saved(g Group) savedGroup {
	s := savedGroup{g, g.Password.Reveal(), map[int]string{}}
	for i := range g.Checks {
		if p := g.Checks[i].password(); p != nil && *p != nil {
			s.Secrets[i] = (*p).Reveal()
		}
	}
	return s
}

// password is where a check of its type has one; nil: nowhere.
func (c *Check) password() *check.Password {
	switch c.Type {
	case CheckLDAP:
		return &c.LDAP.Password
	case CheckSMB:
		return &c.SMB.Password
	}
	return nil
}

// spec gives the group as it was.
func (s savedGroup) spec() Group {
	s.Group.Password = NewSecret(s.Password)
	for i, text := range s.Secrets {
		if i < 0 || i >= len(s.Checks) {
			continue
		}
		if p := s.Checks[i].password(); p != nil {
			*p = NewSecret(text)
		}
	}
	return s.Group
}

// maxHandoverAge is how old a state may be: an exec takes a fraction of a second, and whoever holds an older one lost its lease.
const maxHandoverAge = 10 * time.Second

// Errors of a state that is not taken over.
var (
	errHandoverVersion = errors.New("it is of another version")
	errHandoverBoot    = errors.New("it was made before the machine booted")
	errHandoverAge     = errors.New("it is too old")
)

func (h *Handover) encode() ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the state: %w", err)
	}
	if len(b) > maxHandover {
		return nil, fmt.Errorf("encode the state: %w", ErrTooLong)
	}
	return b, nil
}

// decodeHandover reads what encode wrote, on the same boot and a moment ago.
func decodeHandover(b []byte, bootID string, now time.Time) (*Handover, error) {
	if len(b) > maxHandover {
		return nil, fmt.Errorf("take over the state: %w", ErrTooLong)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("take over the state: %w", err)
	}
	if v.Version != handoverVersion {
		return nil, fmt.Errorf("take over the state: %w", errHandoverVersion)
	}
	var h Handover
	if err := decodeStrict(b, &h); err != nil {
		return nil, fmt.Errorf("take over the state: %w", err)
	}
	if h.BootID != bootID {
		return nil, fmt.Errorf("take over the state: %w", errHandoverBoot)
	}
	if age := bootAge(now) - h.Made; age < 0 || age > maxHandoverAge {
		return nil, fmt.Errorf("take over the state: %w", errHandoverAge)
	}
	return &h, nil
}
