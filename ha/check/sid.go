package check

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"kvmctl/internal/child"
)

// SID compares the security identifiers of the Samba here with those of a peer's: two domain controllers with different ones are two domains, and
// whoever joined one of them is a stranger to the other.
type SID struct {
	Peer       string // its name in kvmha.toml
	DomainOnly bool   // the machines' own may differ from the domain's, as those of an Active Directory's controllers and of mere members do
}

// Kind implements Spec.
func (SID) Kind() string { return "sid" }

var errNoPeer = errors.New("peer is empty")

// Validate implements Spec.
func (s SID) Validate() error {
	if s.Peer == "" {
		return errNoPeer
	}
	return nil
}

// SIDs are what a Samba server goes by (MS-DTYP, 2.4.2.1).
type SIDs struct {
	Local  string `json:"local"`            // of the machine: net getlocalsid
	Domain string `json:"domain,omitempty"` // of its domain: net getdomainsid; empty: it is in none
}

var sid = regexp.MustCompile(`^S-1-[0-9]{1,13}(-[0-9]{1,10}){1,15}$`)

// Validate says what is wrong with an answer that came from elsewhere.
func (s SIDs) Validate() error {
	if !sid.MatchString(s.Local) || s.Domain != "" && !sid.MatchString(s.Domain) {
		return errors.New("they are no SIDs")
	}
	return nil
}

// SIDSource asks a peer for its own.
type SIDSource func(ctx context.Context, peer string) (SIDs, error)

// Probe implements Spec.
func (s SID) Probe(env Env) (Probe, error) { return sidProbe{s, env.SIDs}, nil }

type sidProbe struct {
	spec SID
	ask  SIDSource
}

func (sidProbe) Close() {}

func (p sidProbe) Ask(ctx context.Context) error {
	here, err := LocalSIDs(ctx)
	if err != nil {
		return err
	}
	if p.ask == nil {
		return &UnseenError{fmt.Sprintf("nobody here can ask %s", p.spec.Peer)}
	}
	there, err := p.ask(ctx, p.spec.Peer)
	if err == nil {
		err = there.Validate()
	}
	if err != nil { // whose SID is wrong is not known, and its agent may just be down
		return &UnseenError{fmt.Sprintf("%s does not tell its SIDs: %v", p.spec.Peer, err)}
	}
	return p.spec.judge(here, there)
}

// judge says what is wrong.
func (s SID) judge(here, there SIDs) error {
	switch {
	case here.Domain == "":
		return errors.New("net getdomainsid knows no domain here")
	case there.Domain == "":
		return fmt.Errorf("net getdomainsid knows no domain on %s", s.Peer)
	case here.Domain != there.Domain:
		return fmt.Errorf("the domain's SID is %s here and %s on %s: net setdomainsid, on the wrong one", here.Domain, there.Domain, s.Peer)
	case s.DomainOnly:
	case here.Local != here.Domain: // an NT4-style controller has its domain's, and a backup's is taken for a stranger otherwise
		return fmt.Errorf("the local SID here is %s, and not the domain's: net setlocalsid %s", here.Local, here.Domain)
	case there.Local != there.Domain:
		return fmt.Errorf("the local SID on %s is %s, and not the domain's: there, net setlocalsid %s", s.Peer, there.Local, there.Domain)
	}
	return nil
}

// LocalSIDs asks the Samba of this machine, by two short programs. It takes nothing from anybody: a peer's question runs the same.
func LocalSIDs(ctx context.Context) (SIDs, error) {
	var all SIDs
	local, err := child.Run(ctx, child.Command{Argv: []string{"net", "getlocalsid"}})
	if err == nil {
		err = local.Err()
	}
	if err != nil {
		return all, fmt.Errorf("net getlocalsid: %w", err)
	}
	for _, s := range parseSIDs(local.Output) {
		all.Local = s // it calls the machine a domain
	}
	if all.Local == "" {
		return SIDs{}, fmt.Errorf("net getlocalsid tells no SID: %s", shortQuote(local.Output))
	}
	domain, err := child.Run(ctx, child.Command{Argv: []string{"net", "getdomainsid"}})
	if err != nil {
		return SIDs{}, fmt.Errorf("net getdomainsid: %w", err)
	}
	all.Domain = parseSIDs(domain.Output)[ofDomain] // exit 1 where there is none
	return all, nil
}

// Whose SID a line tells.
const (
	ofDomain  = "domain"
	ofMachine = "local machine"
)

// parseSIDs reads the lines "SID for domain OFFICE is: S-1-5-21-…" and "SID for local machine OLORIN is: S-1-5-21-…" of net(8); among them may be
// others, such as warnings about smb.conf.
func parseSIDs(out []byte) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(string(out[:min(len(out), child.MaxOutput)])) {
		about, value, ok := strings.Cut(strings.TrimSpace(line), " is: ")
		about, of := strings.CutPrefix(about, "SID for ")
		if !ok || !of || !sid.MatchString(value) {
			continue
		}
		for _, whose := range []string{ofDomain, ofMachine} {
			if strings.HasPrefix(about, whose+" ") {
				all[whose] = value
			}
		}
	}
	return all
}

// sidsFor is how long an answer to a peer stands, so that its questions cost nothing.
const sidsFor = 10 * time.Second

// SIDReader answers the questions of peers: one at a time runs programs, the others get what it got.
type SIDReader struct {
	read  func(context.Context) (SIDs, error)
	now   func() time.Time
	turn  chan struct{} // of the one that reads
	last  SIDs
	until time.Time
}

// NewSIDReader gives one that measures in now's clock and gets them by read, LocalSIDs for an agent.
func NewSIDReader(now func() time.Time, read func(context.Context) (SIDs, error)) *SIDReader {
	return &SIDReader{read: read, now: now, turn: make(chan struct{}, 1)}
}

// Read gives this machine's SIDs, as they were within the last ten seconds.
func (r *SIDReader) Read(ctx context.Context) (SIDs, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return SIDs{}, ctx.Err()
	}
	if r.now().Before(r.until) {
		return r.last, nil
	}
	got, err := r.read(ctx)
	if err == nil {
		r.last, r.until = got, r.now().Add(sidsFor)
	}
	return got, err
}
