package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"strings"
	"time"
)

// SMTP greets a mail server (RFC 5321), with TLS where asked, and says good-bye; it sends nothing.
type SMTP struct {
	Address    string        // "127.0.0.1:25": a literal address
	TLS        string        // TLSNone, which "" means too, TLSStart (RFC 3207) or TLSImplicit (RFC 8314)
	CAFile     string        // PEM; empty: the system's
	ServerName string        // in its certificate; empty: the address
	Helo       string        // our name; empty: localhost
	Expect     string        // its greeting holds it; empty: anything
	Expires    time.Duration // how long its certificate has to be valid yet; 0: now
}

// maxSMTP bounds what is read, in bytes.
const maxSMTP = 64 << 10

// Kind implements Spec.
func (SMTP) Kind() string { return "smtp" }

// Validate implements Spec.
func (s SMTP) Validate() error {
	switch {
	case validAddrPort(s.Address) != nil:
		return validAddrPort(s.Address)
	case s.TLS != "" && s.TLS != TLSNone && s.TLS != TLSStart && s.TLS != TLSImplicit:
		return fmt.Errorf("tls is %q, not none, starttls or implicit", s.TLS)
	case strings.ContainsAny(s.Helo, " \t\r\n"):
		return fmt.Errorf("helo %q is no name", s.Helo)
	case len(s.Expect) > maxAnswer/2:
		return fmt.Errorf("expect is longer than %d bytes", maxAnswer/2)
	case s.Expires < 0:
		return errors.New("a certificate cannot be wanted valid in the past")
	case s.Expires > 0 && s.TLS != TLSStart && s.TLS != TLSImplicit:
		return errors.New("without TLS there is no certificate that expires")
	}
	return nil
}

// Probe implements Spec.
func (s SMTP) Probe(Env) (Probe, error) {
	at, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return nil, err
	}
	return &smtpProbe{spec: s, at: at, trust: trust{file: s.CAFile}}, nil
}

type smtpProbe struct {
	spec  SMTP
	at    netip.AddrPort
	trust trust
}

func (*smtpProbe) Close() {}

func (p *smtpProbe) Ask(ctx context.Context) error {
	cut, err := dial(ctx, p.at, maxSMTP)
	if err != nil {
		return err
	}
	defer cut.Close()
	var config *tls.Config
	if p.spec.TLS == TLSStart || p.spec.TLS == TLSImplicit {
		if config, err = p.trust.config(p.at, p.spec.ServerName); err != nil {
			return err
		}
	}
	var conn net.Conn = cut
	if p.spec.TLS == TLSImplicit {
		if conn, err = secure(cut, config, p.spec.CAFile, p.spec.Expires); err != nil {
			return err
		}
	}
	said, err := p.greet(conn, cut, true)
	if err != nil {
		return err
	}
	if p.spec.TLS == TLSStart {
		if !offers(said, "STARTTLS") {
			return fmt.Errorf("%v offers no STARTTLS", p.at)
		}
		if _, err := p.say(textproto.NewConn(conn), cut, 220, "STARTTLS"); err != nil {
			return err
		}
		if conn, err = secure(cut, config, p.spec.CAFile, p.spec.Expires); err != nil {
			return err
		}
		if _, err := p.greet(conn, cut, false); err != nil { // what it said before the encryption does not count (RFC 3207, 4.2)
			return err
		}
	}
	_, _ = p.say(textproto.NewConn(conn), cut, 221, "QUIT") // so that the server's log shows no lost connection
	return nil
}

// greet reads the greeting, where there is one, and gives what the server says to EHLO.
func (p *smtpProbe) greet(conn net.Conn, cut *cutConn, banner bool) (string, error) {
	c := textproto.NewConn(conn)
	if banner {
		_, text, err := c.ReadResponse(220)
		if err != nil {
			return "", p.explain("greet", err, cut)
		}
		if !strings.Contains(text, p.spec.Expect) {
			return "", fmt.Errorf("%v greets with %s, without %s", p.at, shortQuote([]byte(text)), shortQuote([]byte(p.spec.Expect)))
		}
	}
	helo := p.spec.Helo
	if helo == "" {
		helo = "localhost"
	}
	return p.say(c, cut, 250, "EHLO "+helo)
}

// say sends a line and reads the answer. A server speaks only when it is spoken to, so that nothing stays behind in c's buffer.
func (p *smtpProbe) say(c *textproto.Conn, cut *cutConn, want int, line string) (string, error) {
	verb, _, _ := strings.Cut(line, " ")
	if err := c.PrintfLine("%s", line); err != nil {
		return "", p.explain(verb, err, cut)
	}
	_, text, err := c.ReadResponse(want)
	if err != nil {
		return "", p.explain(verb, err, cut)
	}
	return text, nil
}

// offers tells whether an answer to EHLO names an extension (RFC 5321, 4.1.1.1).
func offers(said, extension string) bool {
	for line := range strings.Lines(said) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.EqualFold(word, extension) {
			return true
		}
	}
	return false
}

// explain words what an admin can act on.
func (p *smtpProbe) explain(act string, err error, cut *cutConn) error {
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		return fmt.Errorf("%v answers %s with %d %s", p.at, act, e.Code, shortQuote([]byte(e.Msg)))
	}
	if cause := cut.cause(); cause != nil {
		return cut.explain(act, cause)
	}
	return fmt.Errorf("%v does not answer as SMTP does", p.at)
}
