package check

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// word is a password.
type word string

func (w word) Reveal() string { return string(w) }

// directory is a slapd with the entries dc=example,dc=org, ou=people below it, and two people.
type directory struct {
	plain, secure string // addresses
	dir           string
	process       *os.Process
}

const (
	adminDN = "cn=admin,dc=example,dc=org"
	base    = "dc=example,dc=org"
	people  = "ou=people,dc=example,dc=org"
)

func slapd(t testing.TB, until time.Time) directory {
	t.Helper()
	d := directory{plain: freePort(t), secure: freePort(t), dir: t.TempDir()}
	certificate(t, d.dir, "ldap.example.org", until)
	conf := write(t, filepath.Join(d.dir, "slapd.conf"), fmt.Sprintf(`include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/slapd.pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
database mdb
suffix "dc=example,dc=org"
rootdn "%[2]s"
rootpw secret
directory %[1]s
maxsize 16777216
access to dn.base="ou=hidden,dc=example,dc=org" by * none
access to * by * read
`, d.dir, adminDN))
	ldif := write(t, filepath.Join(d.dir, "start.ldif"), `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: office

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: cn=anne,ou=people,dc=example,dc=org
objectClass: person
cn: anne
sn: a

dn: cn=bob,ou=people,dc=example,dc=org
objectClass: person
cn: bob
sn: b
`)
	run(t, "/usr/sbin/slapadd", "-f", conf, "-l", ldif)
	d.process = serverOf(t, []string{"/usr/sbin/slapd", "-f", conf, "-d", "0", "-h", "ldap://" + d.plain + " ldaps://" + d.secure}, d.plain, d.secure)
	return d
}

func TestLDAP(t *testing.T) {
	testenv.Need(t, testenv.Netns, "slapd")
	d := slapd(t, time.Now().Add(time.Hour))
	ca, other := filepath.Join(d.dir, "ca.pem"), t.TempDir()
	certificate(t, other, "other.example.org", time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name string
		spec LDAP
		want string
	}{
		{"root DSE", LDAP{Address: d.plain}, ""},
		{"bind", LDAP{Address: d.plain, BindDN: adminDN, Password: word("secret")}, ""},
		{"search", LDAP{Address: d.plain, Base: base}, ""},
		{"search with count", LDAP{Address: d.plain, Base: people, Filter: "(sn=*)", Count: 2}, ""},
		{"ldaps", LDAP{Address: d.secure, TLS: TLSImplicit, CAFile: ca, ServerName: "ldap.example.org", BindDN: adminDN, Password: word("secret")}, ""},
		{"StartTLS", LDAP{Address: d.plain, TLS: TLSStart, CAFile: ca, ServerName: "ldap.example.org", Base: people, Count: 3}, ""},

		{"wrong password", LDAP{Address: d.plain, BindDN: adminDN, Password: word("guess")}, `^ADDR refuses the password of cn=admin,dc=example,dc=org$`},
		{"unknown user", LDAP{Address: d.plain, BindDN: "cn=x," + base, Password: word("x")}, `^ADDR refuses the password of cn=x,dc=example,dc=org$`},
		{"no such base", LDAP{Address: d.plain, Base: "ou=ghosts," + base}, `^ADDR has no ou=ghosts,dc=example,dc=org, or does not show it$`},
		{"too few", LDAP{Address: d.plain, Base: people, Filter: "(sn=*)", Count: 3}, `^ADDR: \(sn=\*\) below ou=people,dc=example,dc=org finds 2, expected 3$`},
		{"too many", LDAP{Address: d.plain, Base: people, Filter: "(sn=*)", Count: 1}, `^ADDR: \(sn=\*\) below ou=people,dc=example,dc=org finds more than 1, expected 1$`},
		{"none", LDAP{Address: d.plain, Base: people, Filter: "(sn=z)"}, `^ADDR: \(sn=z\) below ou=people,dc=example,dc=org finds 0, expected at least 1$`},
		{"unknown CA", LDAP{Address: d.secure, TLS: TLSImplicit, CAFile: filepath.Join(other, "ca.pem"), ServerName: "ldap.example.org"}, `^ADDR: its certificate is signed by none of .*/ca\.pem$`},
		{"the system's CAs", LDAP{Address: d.plain, TLS: TLSStart, ServerName: "ldap.example.org"}, `^ADDR: its certificate is signed by none of the system's CAs$`},
		{"another name", LDAP{Address: d.plain, TLS: TLSStart, CAFile: ca, ServerName: "web.example.org"}, `^ADDR: its certificate is for ldap.example.org, not for web.example.org: server_name$`},
		{"no name", LDAP{Address: d.secure, TLS: TLSImplicit, CAFile: ca}, `^ADDR: its certificate is for ldap.example.org, not for 127.0.0.1: server_name$`},
		{"no CA file", LDAP{Address: d.secure, TLS: TLSImplicit, CAFile: "/nonexistent"}, `^read ca_file: open /nonexistent: no such file or directory$`},
		{"no certificate in it", LDAP{Address: d.secure, TLS: TLSImplicit, CAFile: "/etc/hostname"}, `^ca_file /etc/hostname holds no certificate$`},
		{"TLS at the plain port", LDAP{Address: d.plain, TLS: TLSImplicit, CAFile: ca}, `^begin TLS with ADDR: it closed the connection$`},
		{"no TLS at the secure port", LDAP{Address: d.secure}, `^(ask for the root DSE of ADDR: it closed the connection|ADDR does not answer as LDAP does)$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, v, _ := once(t, tt.spec, long)
			says(t, tt.name, got, tt.want, tt.spec.Address)
			if tt.want != "" && v != Fail {
				t.Errorf("verdict %v", v)
			}
		})
	}

	ask := LDAP{Address: d.plain, BindDN: adminDN, Password: word("secret"), Base: base}
	slow := ask
	slow.Address = slowly(t, d.plain, time.Millisecond)
	got, _, _ := once(t, slow, long)
	says(t, "slow", got, "", slow.Address)
	slow.Address = slowly(t, d.plain, 100*time.Millisecond)
	late(t, "too slow", slow, `^bind to ADDR: no answer within TIME$`, slow.Address)

	freeze(t, d.process.Pid)
	for _, s := range []struct {
		spec LDAP
		want string
	}{
		{ask, `^bind to ADDR: no answer within TIME$`},
		{LDAP{Address: d.plain, TLS: TLSStart, CAFile: ca}, `^ask for StartTLS at ADDR: no answer within TIME$`},
		{LDAP{Address: d.secure, TLS: TLSImplicit, CAFile: ca}, `^begin TLS with ADDR: no answer within TIME$`},
	} {
		late(t, "stopped", s.spec, s.want, s.spec.Address)
	}
	if err := d.process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := once(t, ask, long); got != "" {
		t.Errorf("continued: %q", got)
	}
	if err := d.process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		got, _, _ := once(t, ask, long)
		return got
	}, d.plain+" refuses connections: nothing listens there")
}

// eventually waits until look gives want: what a killed process held is let go of a moment later.
func eventually(t *testing.T, look func() string, want string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got := look()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %q, want %q", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestLDAPOfAnExpiredCertificate(t *testing.T) {
	testenv.Need(t, testenv.Netns, "slapd")
	d := slapd(t, time.Now().Add(-time.Minute))
	got, _, _ := once(t, LDAP{Address: d.secure, TLS: TLSImplicit, CAFile: filepath.Join(d.dir, "ca.pem"), ServerName: "ldap.example.org"}, long)
	says(t, "expired", got, `^ADDR: its certificate is valid from 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d to 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d only$`, d.secure)
}

// Whoever answers, and however: one line, in time.
func TestLDAPOfAStranger(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for _, tt := range []struct{ server, plain, start, implicit string }{
		{"garbage", `^ADDR does not answer as LDAP does$`, `^ADDR does not answer as LDAP does$`, `^ADDR does not speak TLS there$`},
		{"banner", `^ADDR does not answer as LDAP does$|it closed the connection$`, `^ADDR does not answer as LDAP does$|it closed the connection$`, `^ADDR does not speak TLS there$|it closed the connection$`},
		{"mute", `^ask for the root DSE of ADDR: (no answer within TIME|it closed the connection)$`, `^ask for StartTLS at ADDR: (no answer within TIME|it closed the connection)$`, `^begin TLS with ADDR: (no answer within TIME|it closed the connection)$`},
		{"close", `^ask for the root DSE of ADDR: it closed the connection$`, `^ask for StartTLS at ADDR: it closed the connection$`, `^begin TLS with ADDR: it closed the connection$`},
		{"half open", `^connect to ADDR: no answer within TIME$`, `^connect to ADDR: no answer within TIME$`, `^connect to ADDR: no answer within TIME$`},
	} {
		t.Run(tt.server, func(t *testing.T) {
			for mode, want := range map[string]string{TLSNone: tt.plain, TLSStart: tt.start, TLSImplicit: tt.implicit} {
				stranger(t, tt.server, func(addr string) Spec { return LDAP{Address: addr, TLS: mode} }, want)
			}
		})
	}
}

func TestLDAPValidate(t *testing.T) {
	good := LDAP{Address: "127.0.0.1:389"}
	for want, spec := range map[string]LDAP{
		`address "ldap:389" is not ADDRESS:PORT with a literal address`:      {Address: "ldap:389"},
		`address "10.2.0.1:0" has no port`:                                   {Address: "10.2.0.1:0"},
		`tls is "ssl", not none, starttls or implicit`:                       {Address: good.Address, TLS: "ssl"},
		`user "admin" is not a distinguished name`:                           {Address: good.Address, BindDN: "admin", Password: word("p")},
		`base "example.org" is not a distinguished name`:                     {Address: good.Address, Base: "example.org"},
		`filter "sn=" is not one of RFC 4515`:                                {Address: good.Address, Base: base, Filter: "sn="},
		`a user without a password is taken for anonymous (RFC 4513, 5.1.2)`: {Address: good.Address, BindDN: adminDN},
		`a password without a user`:                                          {Address: good.Address, Password: word("p")},
		`filter and count need a base`:                                       {Address: good.Address, Count: 1},
		fmt.Sprintf(`count is not within 0 to %d`, MaxLDAPCount):             {Address: good.Address, Base: base, Count: MaxLDAPCount + 1},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

// FuzzLDAPAnswers has a server answer with anything: the question ends, says one thing, and nothing of it stays.
func FuzzLDAPAnswers(f *testing.F) {
	f.Add([]byte("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"))                                             // a good bind
	f.Add([]byte("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"))                                             // a good StartTLS
	f.Add([]byte("\x30\x09\x02\x01\x01\x64\x04\x04\x00\x30\x00\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00")) // a root DSE
	f.Add([]byte("\x30\x84\x7f\xff\xff\xff\x02\x01\x01"))
	f.Add([]byte("\x30\x80\x30\x80\x30\x80\x30\x80"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	f.Fuzz(func(t *testing.T, answer []byte) {
		served := make(chan struct{})
		go func() {
			defer close(served)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write(answer)
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			_, _ = c.Read(make([]byte, 1<<10))
		}()
		mode := TLSNone
		if len(answer)%2 == 0 {
			mode = TLSStart
		}
		_, _, _ = once(t, LDAP{Address: l.Addr().String(), TLS: mode, Base: base}, time.Minute)
		<-served
	})
}

func BenchmarkLDAP(b *testing.B) {
	testenv.Need(b, testenv.Netns, "slapd")
	d := slapd(b, time.Now().Add(time.Hour))
	for name, s := range map[string]LDAP{
		"bind and search": {Address: d.plain, BindDN: adminDN, Password: word("secret"), Base: base},
		"ldaps":           {Address: d.secure, TLS: TLSImplicit, CAFile: filepath.Join(d.dir, "ca.pem"), ServerName: "ldap.example.org"},
	} {
		b.Run(name, func(b *testing.B) { bench(b, s) })
	}
}

// bench asks one check again and again, and tells what an answer costs this process in processor time beside how long it takes.
func bench(b *testing.B, s Spec) {
	b.Helper()
	p, err := s.Probe(Env{})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	used := -cpu(b)
	for b.Loop() {
		if err := p.Ask(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	used += cpu(b)
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
}

// A server that goes on and on is cut off by its bytes, long before the time is over.
func TestLDAPThatDoesNotStop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan int, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- 0
			return
		}
		defer c.Close()
		entries := bytes.Repeat([]byte("\x30\x09\x02\x01\x01\x64\x04\x04\x00\x30\x00"), 1000)
		for sent := 0; ; {
			n, err := c.Write(entries)
			if sent += n; err != nil {
				served <- sent
				return
			}
		}
	}()
	got, _, _ := once(t, LDAP{Address: l.Addr().String()}, time.Minute)
	says(t, "without end", got, `^ask for the root DSE of ADDR: it does not stop to answer$`, l.Addr().String())
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if sent := <-served; sent < maxLDAPAnswer/2 {
		t.Errorf("cut off after %d bytes already", sent)
	}
}
