package check

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// exim is a mail server of that name with STARTTLS.
func exim(t testing.TB, until time.Time, extra string) (addr, secure, dir string, process *os.Process) {
	t.Helper()
	addr, secure, dir = freePort(t), freePort(t), t.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	_, tlsPort, _ := net.SplitHostPort(secure)
	certificate(t, dir, "mail.example.org", until)
	for _, d := range []string{filepath.Dir(dir), dir} { // it runs as a user of its own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "cert.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	spool := filepath.Join(dir, "spool")
	if err := os.Mkdir(spool, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(spool, 0o777); err != nil {
		t.Fatal(err)
	}
	conf := write(t, filepath.Join(dir, "exim.conf"), fmt.Sprintf(`primary_hostname = mail.example.org
daemon_smtp_ports = %[2]s : %[3]s
tls_on_connect_ports = %[3]s
local_interfaces = 127.0.0.1
spool_directory = %[1]s/spool
log_file_path = %[1]s/spool/%%slog
host_lookup =
rfc1413_query_timeout = 0s
tls_certificate = %[1]s/cert.pem
tls_privatekey = %[1]s/key.pem
%[4]s
`, dir, port, tlsPort, extra))
	if err := os.Chmod(conf, 0o644); err != nil {
		t.Fatal(err)
	}
	process = serverOf(t, []string{"/usr/sbin/exim4", "-bdf", "-C", conf, "-oP", filepath.Join(dir, "spool", "pid")}, addr, secure)
	return addr, secure, dir, process
}

func TestSMTP(t *testing.T) {
	testenv.Need(t, testenv.Netns, "exim4")
	plain, tls, dir, process := exim(t, time.Now().Add(time.Hour), "tls_advertise_hosts = *")
	ca := filepath.Join(dir, "ca.pem")
	const name = "mail.example.org"
	for _, tt := range []struct {
		name string
		spec SMTP
		want string
	}{
		{"greeting", SMTP{}, ""},
		{"expected greeting", SMTP{Expect: "mail.example.org ESMTP", Helo: "varda2.example.org"}, ""},
		{"STARTTLS", SMTP{TLS: TLSStart, CAFile: ca, ServerName: name, Expires: time.Minute}, ""},
		{"TLS from the first byte", SMTP{Address: tls, TLS: TLSImplicit, CAFile: ca, ServerName: name}, ""},

		{"another greeting", SMTP{Expect: "Postfix"}, `^ADDR greets with "mail.example.org ESMTP Exim .*"…, without "Postfix"$`},
		{"another name", SMTP{TLS: TLSStart, CAFile: ca, ServerName: "mx.example.org"}, `^ADDR: its certificate is for mail.example.org, not for mx.example.org: server_name$`},
		{"unknown CA", SMTP{TLS: TLSStart, ServerName: name}, `^ADDR: its certificate is signed by none of the system's CAs$`},
		{"ends soon", SMTP{TLS: TLSStart, CAFile: ca, ServerName: name, Expires: 72 * time.Hour}, `^ADDR: its certificate ends in (1h0m|59m)0s, wanted 3 days at least$`},
		{"TLS at the plain port", SMTP{TLS: TLSImplicit, CAFile: ca, ServerName: name}, `^ADDR does not speak TLS there$`},
		{"no such file", SMTP{TLS: TLSStart, CAFile: "/nonexistent"}, `^read ca_file: open /nonexistent: no such file or directory$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.spec.Address == "" {
				tt.spec.Address = plain
			}
			got, v, _ := once(t, tt.spec, long)
			says(t, tt.name, got, tt.want, tt.spec.Address)
			if tt.want != "" && v != Fail {
				t.Errorf("verdict %v", v)
			}
		})
	}

	ask := SMTP{Address: plain}
	slow := ask
	slow.Address = slowly(t, plain, time.Millisecond)
	got, _, _ := once(t, slow, long)
	says(t, "slow", got, "", slow.Address)
	slow.Address = slowly(t, plain, 100*time.Millisecond)
	late(t, "too slow", slow, `^greet ADDR: no answer within TIME$`, slow.Address)

	freeze(t, process.Pid)
	late(t, "stopped", ask, `^greet ADDR: no answer within TIME$`, plain)
	if err := process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := once(t, ask, long); got != "" {
		t.Errorf("continued: %q", got)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		got, _, _ := once(t, ask, long)
		return got
	}, plain+" refuses connections: nothing listens there")
}

func TestSMTPOfAServerThatRefuses(t *testing.T) {
	testenv.Need(t, testenv.Netns, "exim4")
	plain, _, _, _ := exim(t, time.Now().Add(time.Hour), "host_reject_connection = *")
	got, _, _ := once(t, SMTP{Address: plain}, long)
	says(t, "rejected", got, `^ADDR answers greet with 554 ".*"$`, plain)
}

func TestSMTPWithoutSTARTTLS(t *testing.T) {
	testenv.Need(t, testenv.Netns, "exim4")
	plain, _, _, _ := exim(t, time.Now().Add(time.Hour), "tls_advertise_hosts =")
	got, _, _ := once(t, SMTP{Address: plain, TLS: TLSStart}, long)
	says(t, "none offered", got, `^ADDR offers no STARTTLS$`, plain)
}

// Whoever answers, and however: one line, in time.
func TestSMTPOfAStranger(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for server, want := range map[string]string{
		"garbage":   `^ADDR does not answer as SMTP does$|it closed the connection$`,
		"banner":    `^EHLO ADDR: it closed the connection$`,
		"mute":      `^greet ADDR: (no answer within TIME|it closed the connection)$`,
		"close":     `^greet ADDR: it closed the connection$`,
		"half open": `^connect to ADDR: no answer within TIME$`,
	} {
		t.Run(server, func(t *testing.T) {
			stranger(t, server, func(addr string) Spec { return SMTP{Address: addr} }, want)
		})
	}
}

func TestSMTPValidate(t *testing.T) {
	const at = "127.0.0.1:25"
	for want, spec := range map[string]SMTP{
		`address "mx:25" is not ADDRESS:PORT with a literal address`: {Address: "mx:25"},
		`tls is "yes", not none, starttls or implicit`:               {Address: at, TLS: "yes"},
		`helo "a b" is no name`:                                      {Address: at, Helo: "a b"},
		`without TLS there is no certificate that expires`:           {Address: at, Expires: time.Hour},
		`a certificate cannot be wanted valid in the past`:           {Address: at, TLS: TLSStart, Expires: -1},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", spec, err, want)
		}
	}
}
