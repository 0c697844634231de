package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// How a connection is encrypted.
const (
	TLSNone     = "none"
	TLSStart    = "starttls" // asked for within the protocol
	TLSImplicit = "implicit" // from the first byte: ldaps
)

// LDAP asks a directory server for its root DSE (RFC 4512, 5.1), after a bind and before a search where these are configured.
type LDAP struct {
	Address    string // "10.2.0.2:389": a literal address
	TLS        string // TLSNone, which "" means too, TLSStart or TLSImplicit
	CAFile     string // PEM; empty: the system's
	ServerName string // in its certificate; empty: the address

	BindDN   string   // empty: anonymous
	Password Password `json:"-"` // of BindDN; nil: none

	Base   string // of a search over the whole subtree; empty: none
	Filter string // RFC 4515; empty: (objectClass=*)
	Count  int    // entries that the search has to find; 0: at least one
}

// Bounds of an LDAP check.
const (
	maxLDAPAnswer = 1 << 20 // bytes
	MaxLDAPCount  = 1000    // entries
)

var anything = "(objectClass=*)"

// Kind implements Spec.
func (LDAP) Kind() string { return "ldap" }

// Validate implements Spec.
func (s LDAP) Validate() error {
	_, err := ldap.ParseDN(s.BindDN)
	_, errBase := ldap.ParseDN(s.Base)
	_, errFilter := ldap.CompileFilter(s.filter())
	switch {
	case validAddrPort(s.Address) != nil:
		return validAddrPort(s.Address)
	case s.TLS != "" && s.TLS != TLSNone && s.TLS != TLSStart && s.TLS != TLSImplicit:
		return fmt.Errorf("tls is %q, not none, starttls or implicit", s.TLS)
	case err != nil:
		return fmt.Errorf("user %q is not a distinguished name", s.BindDN)
	case errBase != nil:
		return fmt.Errorf("base %q is not a distinguished name", s.Base)
	case errFilter != nil:
		return fmt.Errorf("filter %q is not one of RFC 4515", s.Filter)
	case s.BindDN != "" && reveal(s.Password) == "":
		return errors.New("a user without a password is taken for anonymous (RFC 4513, 5.1.2)")
	case s.BindDN == "" && reveal(s.Password) != "":
		return errors.New("a password without a user")
	case s.Base == "" && (s.Filter != "" || s.Count != 0):
		return errors.New("filter and count need a base")
	case s.Count < 0 || s.Count > MaxLDAPCount:
		return fmt.Errorf("count is not within 0 to %d", MaxLDAPCount)
	}
	return nil
}

func validAddrPort(s string) error {
	ap, err := netip.ParseAddrPort(s)
	switch {
	case err != nil:
		return fmt.Errorf("address %q is not ADDRESS:PORT with a literal address", s)
	case ap.Port() == 0:
		return fmt.Errorf("address %q has no port", s)
	}
	return nil
}

func (s LDAP) filter() string {
	if s.Filter == "" {
		return anything
	}
	return s.Filter
}

// Probe implements Spec.
func (s LDAP) Probe(Env) (Probe, error) {
	at, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return nil, err
	}
	return &ldapProbe{spec: s, at: at, trust: trust{file: s.CAFile}}, nil
}

type ldapProbe struct {
	spec  LDAP
	at    netip.AddrPort
	trust trust
}

func (*ldapProbe) Close() {}

func (p *ldapProbe) Ask(ctx context.Context) error {
	cut, err := dial(ctx, p.at, maxLDAPAnswer)
	if err != nil {
		return err
	}
	defer cut.Close()
	conn, encrypted, err := p.encrypt(cut)
	if err != nil {
		return err
	}
	c := ldap.NewConn(conn, encrypted)
	c.Start()
	defer c.Close()
	for _, step := range []struct {
		act  string
		want bool
		do   func(*ldap.Conn) error
	}{
		{"bind to", p.spec.BindDN != "", p.bind},
		{"ask for the root DSE of", true, p.rootDSE},
		{"search in", p.spec.Base != "", p.search},
	} {
		if !step.want {
			continue
		}
		if err := step.do(c); err != nil {
			return p.explain(step.act, err, cut)
		}
	}
	_ = c.Unbind() // so that the server's log shows no lost connection
	return nil
}

// encrypt gives the connection as the check wants it.
func (p *ldapProbe) encrypt(cut *cutConn) (conn net.Conn, encrypted bool, err error) {
	if p.spec.TLS != TLSStart && p.spec.TLS != TLSImplicit {
		return cut, false, nil
	}
	config, err := p.trust.config(p.at, p.spec.ServerName)
	if err != nil {
		return nil, false, err
	}
	if p.spec.TLS == TLSStart {
		if err := startTLS(cut); err != nil {
			return nil, false, p.explain("ask for StartTLS at", err, cut)
		}
	}
	secure := tls.Client(cut, config)
	if err := secure.Handshake(); err != nil { // HandshakeContext would close the connection, which then is the reason instead of the time
		if cause := cut.cause(); cause != nil {
			err = cause
		}
		return nil, false, cut.explainTLS(p.spec.CAFile, err)
	}
	return secure, true, nil
}

// startTLS sends the extended request of RFC 4511, 4.14. The library's own hides why a handshake fails, and waits without a context.
func startTLS(c net.Conn) error {
	request := append([]byte{0x30, 29, 0x02, 1, 1, 0x77, 24, 0x80, 22}, "1.3.6.1.4.1.1466.20037"...)
	if _, err := c.Write(request); err != nil {
		return err
	}
	packet, err := ber.ReadPacket(c)
	if err != nil {
		return err
	}
	return ldap.GetLDAPError(packet)
}

func (p *ldapProbe) bind(c *ldap.Conn) error { return c.Bind(p.spec.BindDN, reveal(p.spec.Password)) }

func (p *ldapProbe) rootDSE(c *ldap.Conn) error {
	found, err := c.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, anything, []string{"namingContexts"}, nil))
	if err != nil {
		return err
	}
	if len(found.Entries) != 1 {
		return errNoRootDSE
	}
	return nil
}

var errNoRootDSE = errors.New("it shows none: access to dn.base=\"\" by * read")

// wrongCountError is a search that found other than what was expected.
type wrongCountError struct {
	base, filter string
	found, want  int
	more         bool // than found
}

func (e *wrongCountError) Error() string {
	found, want := fmt.Sprint(e.found), fmt.Sprint(e.want)
	if e.more {
		found = "more than " + want
	}
	if e.want == 0 {
		want = "at least 1"
	}
	return fmt.Sprintf("%s below %s finds %s, expected %s", e.filter, e.base, found, want)
}

func (p *ldapProbe) search(c *ldap.Conn) error {
	s := p.spec
	limit := s.Count + 1 // one more shows that there are more
	found, err := c.Search(ldap.NewSearchRequest(s.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, limit, 0, false, s.filter(), []string{"1.1"}, nil))
	more := ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded)
	if err != nil && !more {
		return err
	}
	n := len(found.Entries)
	if s.Count == 0 && n > 0 || s.Count != 0 && n == s.Count && !more {
		return nil
	}
	return &wrongCountError{s.Base, s.filter(), n, s.Count, n > s.Count || more}
}

// explain words what an admin can act on.
func (p *ldapProbe) explain(act string, err error, cut *cutConn) error {
	coded, ok := errors.AsType[*ldap.Error](err)
	if ok && coded.ResultCode < ldap.ErrorNetwork {
		return p.refused(act, coded)
	}
	if count, ok := errors.AsType[*wrongCountError](err); ok {
		return fmt.Errorf("%v: %w", p.at, count)
	}
	if cause := cut.cause(); cause != nil {
		return cut.explain(act, cause)
	}
	if errors.Is(err, errNoRootDSE) {
		return fmt.Errorf("%s %v: %w", act, p.at, err)
	}
	return fmt.Errorf("%v does not answer as LDAP does", p.at)
}

// refused words a result of RFC 4511, 4.1.9.
func (p *ldapProbe) refused(act string, e *ldap.Error) error {
	switch e.ResultCode {
	case ldap.LDAPResultInvalidCredentials:
		return fmt.Errorf("%v refuses the password of %s", p.at, p.spec.BindDN)
	case ldap.LDAPResultNoSuchObject:
		return fmt.Errorf("%v has no %s, or does not show it", p.at, p.spec.Base)
	case ldap.LDAPResultConfidentialityRequired:
		return fmt.Errorf("%v wants encryption: tls = \"starttls\"", p.at)
	}
	what := ldap.LDAPResultCodeMap[e.ResultCode]
	if what == "" {
		what = "an unknown result"
	}
	if e.Err != nil && e.Err.Error() != "" {
		what += ": " + e.Err.Error()
	}
	return fmt.Errorf("%s %v: result %d, %s", act, p.at, e.ResultCode, what)
}

// The library's own bound is 2 GiB, for a single element.
func init() { ber.MaxPacketLengthBytes = maxLDAPAnswer }
