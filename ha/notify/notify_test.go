package notify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"kvmctl/ha"
	"kvmctl/ha/failover"
)

var group = ha.Group{Name: "dns", Addresses: []netip.Addr{netip.MustParseAddr("10.2.0.10")}}

var takeover = failover.Alert{Kind: failover.AlertNotice, Subject: failover.AboutTakeover,
	Facts: []string{"varda1 was silent for 3.4 s", "3 adverts were missed", "named.service was started in 0.2 s"}}

// relay is a real SMTP server.
type relay struct {
	addr  string
	close func()
	user  string // empty: no authentication
	mails chan string
	fail  error // of DATA
	mu    sync.Mutex
}

func (r *relay) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{r: r}, nil }

type session struct {
	r      *relay
	authed bool
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.r.user || password != "hush" {
			return smtp.ErrAuthFailed
		}
		s.authed = true
		return nil
	}), nil
}
func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.r.user != "" && !s.authed {
		return smtp.ErrAuthRequired
	}
	return nil
}
func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if err != nil || s.r.fail != nil {
		return errors.Join(err, s.r.fail)
	}
	s.r.mails <- string(b)
	return nil
}

func (r *relay) setFail(err error) { r.mu.Lock(); r.fail = err; r.mu.Unlock() }

// newRelay listens on addr, or on a port of its own; implicit: TLS from the first byte.
func newRelay(t *testing.T, addr string, cert *tls.Certificate, implicit bool, user string) *relay {
	t.Helper()
	r := &relay{user: user, mails: make(chan string, 100)}
	s := smtp.NewServer(r)
	s.Domain, s.AllowInsecureAuth = "relay.test", true
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	if cert != nil {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
		if implicit {
			l = tls.NewListener(l, s.TLSConfig)
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	r.close = func() { s.Close(); l.Close(); <-done } // Close alone misses a listener that Serve has not taken yet
	t.Cleanup(r.close)
	return r
}

func (r *relay) next(t *testing.T) *mail.Message {
	t.Helper()
	select {
	case text := <-r.mails:
		m, err := mail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no mail came")
		return nil
	}
}

// authority makes a certificate for 127.0.0.1 that this test's process believes.
func authority(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay.test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	t.Cleanup(func() { roots = nil })
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func byMail(r *relay, way ha.MailTLS) ha.Spec {
	return ha.Spec{Node: "varda2", Language: ha.English,
		Mail: ha.Mail{Relay: r.addr, TLS: way, From: "kvmha@example.org", To: []string{"admin@example.org"}, Timeout: 5 * time.Second}}
}

// run runs a post until the test ends, or stop is called.
func run(t *testing.T, p *Post) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	once := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(once)
	return once
}

func newPost(t *testing.T, dir string, s ha.Spec) *Post {
	return New(dir, slog.New(slog.NewTextHandler(t.Output(), nil)), s)
}

func TestATakeoverIsMailed(t *testing.T) {
	r := newRelay(t, "", nil, false, "")
	s := byMail(r, ha.MailPlain)
	p := newPost(t, t.TempDir(), s)
	run(t, p)
	p.Say(s, group, takeover)
	m := r.next(t)
	body, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Header.Get("Subject"), "[kvmha varda2] dns: active here from now on"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	if m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Message-Id") == "" || m.Header.Get("Date") == "" {
		t.Errorf("header %v", m.Header)
	}
	for _, want := range []string{"Group:     dns (10.2.0.10)", "Node:      varda2", "  - varda1 was silent for 3.4 s", "kvmha log dns --explain"} {
		if !strings.Contains(strings.ReplaceAll(string(body), "=\r\n", ""), want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
}

func TestEveryWayToARelay(t *testing.T) {
	cert := authority(t)
	for _, c := range []struct {
		name     string
		way      ha.MailTLS
		cert     *tls.Certificate
		implicit bool
		password string
		fails    bool
	}{
		{"plain", ha.MailPlain, nil, false, "", false},
		{"starttls", ha.MailStartTLS, cert, false, "", false},
		{"starttls with a password", ha.MailStartTLS, cert, false, "hush", false},
		{"starttls with a wrong password", ha.MailStartTLS, cert, false, "wrong", true},
		{"starttls that is not offered", ha.MailStartTLS, nil, false, "", true},
		{"implicit", ha.MailImplicit, cert, true, "", false},
		{"implicit with a password", ha.MailImplicit, cert, true, "hush", false},
		{"opportunistic, offered", ha.MailOpportunistic, cert, false, "", false},
		{"opportunistic, not offered", ha.MailOpportunistic, nil, false, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			user := ""
			if c.password != "" {
				user = "kvmha"
			}
			r := newRelay(t, "", c.cert, c.implicit, user)
			s := byMail(r, c.way)
			s.Mail.User, s.Mail.Password = user, ha.NewSecret(c.password)
			tried, err := Test(t.Context(), s)
			if err != nil || len(tried) != 1 || (tried[0].Err != nil) != c.fails {
				t.Fatalf("%+v, %v", tried, err)
			}
			if c.fails {
				if strings.Contains(tried[0].Err.Error(), "wrong") {
					t.Errorf("the error tells the password: %v", tried[0].Err)
				}
				return
			}
			if got := r.next(t).Header.Get("Subject"); got != "[kvmha varda2] a test of kvmha's voices" {
				t.Errorf("subject %q", got)
			}
		})
	}
	t.Run("a certificate that nobody vouches for", func(t *testing.T) {
		r := newRelay(t, "", cert, false, "")
		roots = x509.NewCertPool()
		if tried, err := Test(t.Context(), byMail(r, ha.MailStartTLS)); err != nil || !errors.As(tried[0].Err, new(x509.UnknownAuthorityError)) {
			t.Errorf("%+v, %v", tried, err)
		}
	})
}

// The relay is dead, the agent ends and begins again, the relay comes: nothing is lost, and the order is kept.
func TestWhatWaitsSurvivesARestartAndADeadRelay(t *testing.T) {
	dir := t.TempDir()
	r := newRelay(t, "", nil, false, "")
	r.close()
	s := byMail(r, ha.MailPlain)
	p := newPost(t, dir, s)
	stop := run(t, p)
	for n := range 3 {
		p.Say(s, group, failover.Alert{Kind: failover.AlertFirst, Subject: failover.AboutCheck, Name: fmt.Sprintf("c%d", n)})
	}
	stop() // without a word delivered
	if names, err := filepath.Glob(filepath.Join(dir, voiceMail, "*.json")); err != nil || len(names) != 3 {
		t.Fatalf("%q, %v", names, err)
	}
	r = newRelay(t, r.addr, nil, false, "")
	run(t, newPost(t, dir, s))
	for n := range 3 {
		if got, want := r.next(t).Header.Get("Subject"), fmt.Sprintf("[kvmha varda2] dns: check c%d fails", n); got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	}
}

// What a relay refuses waits, and is tried once more when the agent ends.
func TestARelayThatRefuses(t *testing.T) {
	r := newRelay(t, "", nil, false, "")
	r.setFail(&smtp.SMTPError{Code: 451, Message: "later"})
	failed := make(chan bool, 10)
	p := New(t.TempDir(), slog.New(slog.NewTextHandler(writer(func(line string) { failed <- strings.Contains(line, "later") }), nil)), byMail(r, ha.MailPlain))
	stop := run(t, p)
	p.Say(p.spec, group, takeover)
	if !<-failed {
		t.Error("the relay's words are not in the log")
	}
	select {
	case m := <-r.mails:
		t.Errorf("taken: %q", m)
	default:
	}
	r.setFail(nil)
	stop()
	r.next(t)
}

type writer func(line string)

func (w writer) Write(b []byte) (int, error) { w(string(b)); return len(b), nil }

// A server that accepts and says nothing costs a try its timeout, and nobody else anything.
func TestARelayThatNeverGreets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := byMail(&relay{addr: l.Addr().String()}, ha.MailPlain)
	s.Mail.Timeout = 300 * time.Millisecond
	out := filepath.Join(t.TempDir(), "out")
	s.Command = ha.Command{Argv: []string{"/bin/sh", "-c", "cat >" + out + ".part; mv " + out + ".part " + out}, Timeout: 5 * time.Second}
	p := newPost(t, t.TempDir(), s)
	run(t, p)
	began := time.Now()
	p.Say(s, group, takeover)
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("Say took %v", took)
	}
	var text []byte
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if text, err = os.ReadFile(out); err == nil || time.Now().After(deadline) {
			break
		}
	}
	var m Message
	if err := json.Unmarshal(text, &m); err != nil || m.Subject != "takeover" || m.Group != "dns" {
		t.Errorf("the program got %q (%v)", text, err)
	}
	if tried, err := Test(t.Context(), s); err != nil || tried[0].Err == nil || tried[1].Err != nil {
		t.Errorf("%+v, %v", tried, err)
	}
}

func TestAWebhookGetsJSONAndItsTokenStaysSecret(t *testing.T) {
	got := make(chan Message, 1)
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m Message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.Header.Get("Authorization") != "Bearer hush" || r.Header.Get("Idempotency-Key") != m.ID {
			t.Errorf("%v %v", err, r.Header)
		}
		w.WriteHeader(status)
		got <- m
	}))
	defer server.Close()
	s := ha.Spec{Node: "varda2", Language: ha.French, Webhook: ha.Webhook{URL: server.URL + "/s3cret", Token: ha.NewSecret("hush"), Timeout: 5 * time.Second}}
	p := newPost(t, t.TempDir(), s)
	stop := run(t, p)
	p.Say(s, group, failover.Alert{Kind: failover.AlertReminder, Subject: failover.AboutNobody, Facts: []string{"nobody"}, Command: "kvmha status dns"})
	if m := <-got; m.Headline != "dns: toujours personne d'actif" || m.Command != "kvmha status dns" || m.Since != m.Time {
		t.Errorf("%+v", m)
	}
	stop()
	status = http.StatusForbidden
	for _, end := range []func(){func() {}, server.Close} {
		end()
		tried, err := Test(t.Context(), s)
		if err != nil || tried[0].Err == nil || strings.Contains(fmt.Sprint(tried), "s3cret") || strings.Contains(fmt.Sprint(tried), "hush") {
			t.Errorf("%v, %v", tried, err)
		}
		select {
		case <-got:
		default:
		}
	}
}

// An alert that lasts has one beginning.
func TestSinceWhen(t *testing.T) {
	p := newPost(t, t.TempDir(), ha.Spec{})
	say := func(k failover.AlertKind) Message {
		p.Say(ha.Spec{}, group, failover.Alert{Kind: k, Subject: failover.AboutCheck, Name: "tcp"})
		return <-p.in
	}
	first := say(failover.AlertFirst)
	for _, k := range []failover.AlertKind{failover.AlertReminder, failover.AlertReminder, failover.AlertEnd} {
		if m := say(k); !m.Since.Equal(first.Time) || !m.Time.After(first.Time) {
			t.Errorf("%v: since %v, first %v", k, m.Since, first.Time)
		}
	}
	if m := say(failover.AlertFirst); !m.Since.Equal(m.Time) {
		t.Errorf("a second time: since %v at %v", m.Since, m.Time)
	}
}

func TestTheSpoolIsBoundedAndCountsWhatItDropped(t *testing.T) {
	dir := t.TempDir()
	s, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	message := func(n int) Message {
		return Message{Version: 1, ID: messageID(at.Add(time.Duration(n)*time.Second), uint64(n)), Time: at, Facts: []string{}}
	}
	for n := range maxWaiting {
		b, err := json.Marshal(message(n))
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, message(n).ID+".json"), b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 7 {
		if err := s.add(message(maxWaiting + n)); err != nil {
			t.Fatal(err)
		}
	}
	if s, err = openSpool(dir); err != nil { // the count survives
		t.Fatal(err)
	}
	m, ok, err := s.oldest()
	if !ok || err != nil || m.ID != message(7).ID || m.Dropped != 7 {
		t.Fatalf("%+v, %t, %v", m, ok, err)
	}
	if err := s.done(m); err != nil {
		t.Fatal(err)
	}
	if m, ok, err = s.oldest(); !ok || err != nil || m.ID != message(8).ID || m.Dropped != 0 {
		t.Errorf("%+v, %t, %v", m, ok, err)
	}
	// What is no message does not stop the rest.
	if err := os.WriteFile(filepath.Join(dir, m.ID+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, ok, err = s.oldest(); !ok || err == nil || m.ID != message(9).ID || m.Dropped != 1 {
		t.Errorf("%+v, %t, %v", m, ok, err)
	}
}

// A spool that cannot be written keeps what it got in memory, and delivers it.
func TestAFullDiskCostsNoMail(t *testing.T) {
	r := newRelay(t, "", nil, false, "")
	s := byMail(r, ha.MailPlain)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, voiceMail), nil, 0o600); err != nil { // a file where a directory should be: so root, too, cannot write
		t.Fatal(err)
	}
	p := newPost(t, dir, s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.Say(s, group, takeover)
	r.next(t)
	cancel()
	if err := <-done; err == nil {
		t.Error("nobody said that the spool is no directory")
	}
}

func TestTheWordsOfEachSubject(t *testing.T) {
	for lang := range headlines {
		for sub := failover.AboutTakeover; sub <= failover.AboutFlapping; sub++ {
			for _, k := range []failover.AlertKind{failover.AlertNotice, failover.AlertFirst, failover.AlertReminder, failover.AlertEnd} {
				notice := sub == failover.AboutTakeover || sub == failover.AboutHandOver
				if notice != (k == failover.AlertNotice) {
					continue
				}
				m := newMessage(ha.Spec{Language: lang, Node: "n"}, group, failover.Alert{Kind: k, Subject: sub, Name: "x"}, time.Now(), time.Now())
				if m.Headline == group.Name+": "+sub.String() || strings.Contains(m.Headline, "%") {
					t.Errorf("%s %v %v: %q", lang, sub, k, m.Headline)
				}
				if text, err := Text(m); err != nil || !strings.HasPrefix(text, m.Headline+"\n\n") {
					t.Errorf("%q, %v", text, err)
				}
			}
		}
	}
	if _, ok := headlines[ha.French]["nobody-active"]; !ok {
		t.Error("no French")
	}
}

func TestAMailInFull(t *testing.T) {
	m := newMessage(ha.Spec{Language: ha.French, Node: "varda2"}, group, failover.Alert{Kind: failover.AlertFirst, Subject: failover.AboutNobody,
		Facts: []string{"nobody is active", "here it is waiting (carrier): no link"}, Command: "kvmha status dns"},
		time.Date(2026, 11, 22, 20, 31, 2, 0, time.Local), time.Date(2026, 11, 22, 20, 30, 0, 0, time.Local))
	m.Dropped = 3
	zone, _ := m.Time.Zone()
	got, err := Text(m)
	if err != nil {
		t.Fatal(err)
	}
	want := `dns: personne n'est actif

Groupe :   dns (10.2.0.10)
Nœud :     varda2
Quand :    2026-11-22 20:31:02 ` + zone + `
Depuis :   2026-11-22 20:30:00 ` + zone + `

Ce que l'on sait :
  - nobody is active
  - here it is waiting (carrier): no link

Ce que vous pouvez taper sur varda2 :
  kvmha status dns

3 messages plus anciens ont été abandonnés : il n'y avait plus de place pour ce qui ne pouvait être remis.

Toute l'histoire : kvmha log dns --explain
-- 
kvmha sur varda2
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNobodyToTell(t *testing.T) {
	if _, err := Test(t.Context(), ha.Spec{}); !errors.Is(err, ErrNoVoice) {
		t.Errorf("%v", err)
	}
}

func FuzzMessage(f *testing.F) {
	b, err := json.Marshal(newMessage(ha.Spec{Node: "n"}, group, takeover, time.Now(), time.Now()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"id":"1","time":"2026-11-22T20:00:00Z","headline":"a\nBcc: x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		if strings.ContainsAny(m.Headline+m.Node+m.ID+m.Group, "\r\n") {
			t.Errorf("%+v", m)
		}
		if _, err := Text(m); err != nil {
			t.Error(err)
		}
	})
}

// A restart in place ends the process as soon as Kept comes back.
func TestWhatWasSaidLastIsInTheSpoolWhenKeptComesBack(t *testing.T) {
	dir := t.TempDir()
	spec := ha.Spec{Node: "a", Command: ha.Command{Argv: []string{"/bin/false"}, Timeout: time.Second}}
	p := New(dir, slog.New(slog.DiscardHandler), spec)
	ctx, stop := context.WithCancel(t.Context())
	for range 20 {
		p.Say(spec, ha.Group{Name: "web"}, failover.Alert{Kind: failover.AlertNotice, Subject: failover.AboutHandOver, Facts: []string{"x"}})
	}
	done := make(chan error, 1)
	stop()
	go func() { done <- p.Run(ctx) }()
	p.Kept()
	if left, err := filepath.Glob(filepath.Join(dir, voiceCommand, "*.json")); err != nil || len(left) != 20 {
		t.Errorf("%d messages are in the spool, %v", len(left), err)
	}
	<-done
}
