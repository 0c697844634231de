package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// HTTP asks a web server for one page (RFC 9110), and follows no redirect: where it leads is another check.
type HTTP struct {
	Address    string        // "127.0.0.1:80": a literal address
	TLS        string        // TLSNone, which "" means too, or TLSImplicit: https
	CAFile     string        // PEM; empty: the system's
	ServerName string        // in its certificate; empty: Host, and where that is empty the address
	Host       string        // the virtual host; empty: the address
	Path       string        // with the query; empty: /
	Status     int           // expected; 0: any of 200 to 399
	Contains   string        // within the first MaxHTTPBody bytes of the body; empty: anything
	Expires    time.Duration // how long its certificate has to be valid yet; 0: now
}

// MaxHTTPBody is how much of an answer's body is looked at, in bytes.
const MaxHTTPBody = 64 << 10

// maxHTTP bounds what a question reads, in bytes: the header, and the body.
const maxHTTP = 2 * MaxHTTPBody

// Kind implements Spec.
func (HTTP) Kind() string { return "http" }

// Validate implements Spec.
func (s HTTP) Validate() error {
	_, err := s.request()
	switch {
	case validAddrPort(s.Address) != nil:
		return validAddrPort(s.Address)
	case s.TLS != "" && s.TLS != TLSNone && s.TLS != TLSImplicit:
		return fmt.Errorf("tls is %q, not none or implicit", s.TLS)
	case err != nil:
		return err
	case s.Status != 0 && (s.Status < 200 || s.Status > 599):
		return errors.New("status is not within 200 to 599")
	case len(s.Contains) > MaxHTTPBody/2:
		return fmt.Errorf("contains is longer than %d bytes", MaxHTTPBody/2)
	case s.Expires < 0:
		return errors.New("a certificate cannot be wanted valid in the past")
	case s.Expires > 0 && s.TLS != TLSImplicit:
		return errors.New("without TLS there is no certificate that expires")
	}
	return nil
}

// request gives what is asked.
func (s HTTP) request() (*http.Request, error) {
	path := s.Path
	if path == "" {
		path = "/"
	}
	u, err := url.ParseRequestURI(path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("path %q does not begin with / or is none of HTTP", s.Path)
	}
	host := s.Host
	if host == "" {
		host = s.Address
	}
	if strings.ContainsAny(host, " \t\r\n/@") {
		return nil, fmt.Errorf("host %q is none of HTTP", s.Host)
	}
	return &http.Request{Method: http.MethodGet, URL: u, Host: host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"User-Agent": {"kvmha"}, "Accept": {"*/*"}}}, nil
}

// Probe implements Spec.
func (s HTTP) Probe(Env) (Probe, error) {
	at, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return nil, err
	}
	return &httpProbe{spec: s, at: at, trust: trust{file: s.CAFile}}, nil
}

type httpProbe struct {
	spec  HTTP
	at    netip.AddrPort
	trust trust
}

func (*httpProbe) Close() {}

func (p *httpProbe) Ask(ctx context.Context) error {
	cut, err := dial(ctx, p.at, maxHTTP)
	if err != nil {
		return err
	}
	defer cut.Close()
	conn, err := p.encrypt(cut)
	if err != nil {
		return err
	}
	request, err := p.spec.request()
	if err != nil {
		return err
	}
	if err := request.Write(conn); err != nil {
		return p.explain(err, cut)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return p.explain(err, cut)
	}
	defer answer.Body.Close()
	if !p.spec.wants(answer.StatusCode) {
		return p.spec.otherStatus(p.at, answer)
	}
	if p.spec.Contains == "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxHTTPBody))
	if bytes.Contains(body, []byte(p.spec.Contains)) {
		return nil
	}
	if err != nil && !errors.Is(err, errTooMuch) {
		return p.explain(err, cut)
	}
	return fmt.Errorf("%v answers %s without %s: %s", p.at, p.spec.page(), shortQuote([]byte(p.spec.Contains)), shortQuote(body))
}

// wants tells whether a status is one that is expected.
func (s HTTP) wants(status int) bool {
	return status == s.Status || s.Status == 0 && status >= 200 && status < 400
}

func (s HTTP) otherStatus(at netip.AddrPort, answer *http.Response) error {
	want := "200 to 399"
	if s.Status != 0 {
		want = fmt.Sprint(s.Status)
	}
	to := ""
	if where := answer.Header.Get("Location"); where != "" {
		to = " to " + shortQuote([]byte(where))
	}
	return fmt.Errorf("%v answers %s with %d %s%s, expected %s", at, s.page(), answer.StatusCode, http.StatusText(answer.StatusCode), to, want)
}

// page is what was asked for, to be read.
func (s HTTP) page() string {
	path := s.Path
	if path == "" {
		path = "/"
	}
	return s.Host + path
}

// encrypt gives the connection as the check wants it.
func (p *httpProbe) encrypt(cut *cutConn) (net.Conn, error) {
	if p.spec.TLS != TLSImplicit {
		return cut, nil
	}
	name := p.spec.ServerName
	if name == "" {
		name = p.spec.Host
	}
	config, err := p.trust.config(p.at, name)
	if err != nil {
		return nil, err
	}
	return secure(cut, config, p.spec.CAFile, p.spec.Expires)
}

// secure begins TLS on a connection, and wants the server's certificate to be valid for so long yet.
func secure(cut *cutConn, config *tls.Config, ca string, expires time.Duration) (*tls.Conn, error) {
	c := tls.Client(cut, config)
	if err := c.Handshake(); err != nil { // HandshakeContext would close the connection, which then is the reason instead of the time
		if cause := cut.cause(); cause != nil {
			err = cause
		}
		return nil, cut.explainTLS(ca, err)
	}
	// A date of the wall clock against another: what it says is what every client sees.
	if left := time.Until(c.ConnectionState().PeerCertificates[0].NotAfter); expires > 0 && left < expires {
		return nil, fmt.Errorf("%v: its certificate ends in %s, wanted %s at least", cut.at, days(left), days(expires))
	}
	return c, nil
}

// days words a long time.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

// explain words what an admin can act on.
func (p *httpProbe) explain(err error, cut *cutConn) error {
	if cause := cut.cause(); cause != nil {
		return cut.explain("ask", cause)
	}
	return fmt.Errorf("%v does not answer as HTTP does: %s", p.at, shortQuote([]byte(err.Error())))
}
