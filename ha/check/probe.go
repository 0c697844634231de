package check

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"kvmctl/internal/child"
	"kvmctl/internal/systemd"
)

// Probe is a check that can be asked. Ask is never called twice at a time.
type Probe interface {
	// Ask asks once; nil: it works. Else the error is the reason, CertainError where it is a fact and UnseenError where nothing was learned.
	// It returns soon after ctx ends; whatever else it does, it delays no other check.
	Ask(ctx context.Context) error
	// Close lets go of what it holds. No Ask is under way, and none follows.
	Close()
}

// Pusher is a Probe that hears of changes by itself. changed may be called at any time until Close, from any goroutine, and never blocks; the
// probe is then asked at once.
type Pusher interface {
	Probe
	Push(changed func())
}

// Glancer is a Probe that may know without waiting, at the cost of a system call or two, that all is well. Glance never blocks, and is never
// called while Ask is under way; false: Ask has to. inARow is how many questions it has answered since the last Ask.
type Glancer interface {
	Probe
	Glance(inARow int) bool
}

// glances is how many questions in a row a Glance should answer when Ask looks at more, such as at a pidfile that names another process.
const glances = 9

// CertainError is a failure that is a fact, not only a missing answer: it makes the check red without waiting for Fall.
type CertainError struct{ Reason string }

func (e *CertainError) Error() string { return e.Reason }

// UnseenError says that nothing could be learned of the subject. It changes no state.
type UnseenError struct{ Reason string }

func (e *UnseenError) Error() string { return e.Reason }

// answerOf makes an answer of what Ask gave.
func answerOf(err error) Answer {
	if err == nil {
		return Answer{Verdict: Pass}
	}
	a := Answer{Verdict: Fail, Reason: child.Printable(err.Error())}
	if _, ok := errors.AsType[*CertainError](err); ok {
		a.Verdict = Certain
	} else if _, ok := errors.AsType[*UnseenError](err); ok {
		a.Verdict = NoIdea
	}
	return a
}

// Env is what probes share.
type Env struct {
	Bus  *systemd.Bus // to PID 1; nil: no systemd here
	SIDs SIDSource    // asks peers; nil: nobody can
}

// Spec is the configuration of one check: TCP, Exec, Ping, Process, Systemd.
type Spec interface {
	// Kind is the type's name in kvmha.toml.
	Kind() string
	// Validate says what is wrong with the fields; it looks at nothing else.
	Validate() error
	// Probe makes the check ready. It starts nothing and waits for nothing.
	Probe(Env) (Probe, error)
}

// kinds is the registry: a new kind of check is one file and one line here.
var kinds = map[string]func() Spec{
	"tcp":     func() Spec { return new(TCP) },
	"exec":    func() Spec { return new(Exec) },
	"ping":    func() Spec { return new(Ping) },
	"process": func() Spec { return new(Process) },
	"systemd": func() Spec { return new(Systemd) },
	"dns":     func() Spec { return new(DNS) },
	"dhcp":    func() Spec { return new(DHCP) },
	"http":    func() Spec { return new(HTTP) },
	"smtp":    func() Spec { return new(SMTP) },
	"ldap":    func() Spec { return new(LDAP) },
	"smb":     func() Spec { return new(SMB) },
	"disk":    func() Spec { return new(Disk) },
	"arp":     func() Spec { return new(ARP) },
	"sid":     func() Spec { return new(SID) },
	"pf":      func() Spec { return new(PF) },
	"pfsync":  func() Spec { return new(PFSync) },
}

// Kinds gives the names of all kinds, sorted.
func Kinds() []string {
	var all []string
	for k := range kinds {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// NewSpec gives an empty Spec of a kind, a pointer to one of the types of this package.
func NewSpec(kind string) (Spec, error) {
	if f, ok := kinds[kind]; ok {
		return f(), nil
	}
	return nil, fmt.Errorf("no check of type %q", kind)
}
