package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// nginx serves pages by HTTP and HTTPS.
func nginx(t testing.TB) (plain, secure, dir string, process *os.Process) {
	t.Helper()
	plain, secure, dir = freePort(t), freePort(t), t.TempDir()
	certificate(t, dir, "www.example.org", time.Now().Add(time.Hour))
	www := filepath.Join(dir, "www")
	if err := os.Mkdir(www, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Dir(dir), dir} { // its workers are nobody of note
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for page, text := range map[string]string{"index.html": "all is well\n", "big": strings.Repeat("x", 4*MaxHTTPBody)} {
		if err := os.WriteFile(filepath.Join(www, page), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conf := write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server { listen %[2]s default_server; server_name _; return 421; }
	server {
		listen %[2]s; listen %[3]s ssl; server_name www.example.org; root %[4]s;
		ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;
		location = /old { return 301 https://www.example.org/; }
		location = /broken { return 500; }
	}
}
`, dir, plain, secure, www))
	process = serverOf(t, []string{"/usr/sbin/nginx", "-e", filepath.Join(dir, "error.log"), "-c", conf}, plain, secure)
	return plain, secure, dir, process
}

func TestHTTP(t *testing.T) {
	testenv.Need(t, testenv.Netns, "nginx")
	plain, tls, dir, process := nginx(t)
	ca := filepath.Join(dir, "ca.pem")
	const host = "www.example.org"
	for _, tt := range []struct {
		name string
		spec HTTP
		want string
	}{
		{"page", HTTP{Host: host}, ""},
		{"contains", HTTP{Host: host, Path: "/index.html?x=1", Contains: "is well"}, ""},
		{"status", HTTP{Host: host, Path: "/none", Status: 404}, ""},
		{"redirect", HTTP{Host: host, Path: "/old"}, ""},
		{"https", HTTP{Address: tls, TLS: TLSImplicit, CAFile: ca, Host: host, Contains: "well"}, ""},
		{"https, valid long enough", HTTP{Address: tls, TLS: TLSImplicit, CAFile: ca, Host: host, Expires: 30 * time.Minute}, ""},
		{"https, another virtual host", HTTP{Address: tls, TLS: TLSImplicit, CAFile: ca, ServerName: host, Host: "intra.example.org"}, ""},

		{"no such page", HTTP{Host: host, Path: "/none"}, `^ADDR answers www.example.org/none with 404 Not Found, expected 200 to 399$`},
		{"a redirect where a page is wanted", HTTP{Host: host, Path: "/old", Status: 200}, `^ADDR answers www.example.org/old with 301 Moved Permanently to "https://www.example.org/", expected 200$`},
		{"broken", HTTP{Host: host, Path: "/broken"}, `^ADDR answers www.example.org/broken with 500 Internal Server Error, expected 200 to 399$`},
		{"no such host", HTTP{}, `^ADDR answers / with 421 Misdirected Request, expected 200 to 399$`},
		{"other words", HTTP{Host: host, Contains: "on fire"}, `^ADDR answers www.example.org/ without "on fire": "all is well\\n"$`},
		{"other words, and many", HTTP{Host: host, Path: "/big", Contains: "on fire"}, `^ADDR answers www.example.org/big without "on fire": "x{60}"…$`},
		{"unknown CA", HTTP{Address: tls, TLS: TLSImplicit, Host: host}, `^ADDR: its certificate is signed by none of the system's CAs$`},
		{"another name", HTTP{Address: tls, TLS: TLSImplicit, CAFile: ca, Host: "intra.example.org"}, `^ADDR: its certificate is for www.example.org, not for intra.example.org: server_name$`},
		{"ends soon", HTTP{Address: tls, TLS: TLSImplicit, CAFile: ca, Host: host, Expires: 14 * 24 * time.Hour}, `^ADDR: its certificate ends in (1h0m|59m)0s, wanted 14 days at least$`},
		{"TLS at the plain port", HTTP{TLS: TLSImplicit, CAFile: ca, Host: host}, `^ADDR does not speak TLS there$`},
		{"no TLS at the secure port", HTTP{Address: tls, Host: host}, `^ADDR answers www.example.org/ with 400 Bad Request, expected 200 to 399$`},
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

	ask := HTTP{Address: plain, Host: host}
	slow := ask
	slow.Address = slowly(t, plain, time.Millisecond)
	got, _, _ := once(t, slow, long)
	says(t, "slow", got, "", slow.Address)
	slow.Address = slowly(t, plain, 100*time.Millisecond)
	late(t, "too slow", slow, `^ask ADDR: no answer within TIME$`, slow.Address)

	workers := children(t, process.Pid)
	for _, pid := range append(workers, process.Pid) {
		freeze(t, pid)
	}
	for addr, spec := range map[string]HTTP{plain: ask, tls: {Address: tls, TLS: TLSImplicit, CAFile: ca, Host: host}} {
		late(t, "stopped", spec, `^(ask|begin TLS with) ADDR: no answer within TIME$`, addr)
	}
	for _, pid := range append(workers, process.Pid) {
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, _ := once(t, ask, long); got != "" {
		t.Errorf("continued: %q", got)
	}
	if err := process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		got, _, _ := once(t, ask, long)
		return got
	}, plain+" refuses connections: nothing listens there")
}

// children are a process's.
func children(t testing.TB, pid int) []int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, f := range strings.Fields(string(b)) {
		var c int
		if _, err := fmt.Sscan(f, &c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// Whoever answers, and however: one line, in time.
func TestHTTPOfAStranger(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for server, want := range map[string]string{
		"garbage":   `^ADDR does not answer as HTTP does: .*$|it closed the connection$`,
		"banner":    `^ADDR does not answer as HTTP does: .*$|it closed the connection$`,
		"mute":      `^ask ADDR: (no answer within TIME|it closed the connection)$`,
		"close":     `^ask ADDR: it closed the connection$`,
		"half open": `^connect to ADDR: no answer within TIME$`,
	} {
		t.Run(server, func(t *testing.T) {
			stranger(t, server, func(addr string) Spec { return HTTP{Address: addr} }, want)
		})
	}
}

func TestHTTPValidate(t *testing.T) {
	const at = "127.0.0.1:80"
	for want, spec := range map[string]HTTP{
		`address "www:80" is not ADDRESS:PORT with a literal address`:  {Address: "www:80"},
		`tls is "starttls", not none or implicit`:                      {Address: at, TLS: TLSStart},
		`path "index.html" does not begin with / or is none of HTTP`:   {Address: at, Path: "index.html"},
		`path "http://a/" does not begin with / or is none of HTTP`:    {Address: at, Path: "http://a/"},
		`host "a b" is none of HTTP`:                                   {Address: at, Host: "a b"},
		`status is not within 200 to 599`:                              {Address: at, Status: 100},
		`without TLS there is no certificate that expires`:             {Address: at, Expires: time.Hour},
		`a certificate cannot be wanted valid in the past`:             {Address: at, Expires: -time.Hour},
		fmt.Sprintf(`contains is longer than %d bytes`, MaxHTTPBody/2): {Address: at, Contains: strings.Repeat("x", MaxHTTPBody)},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", spec, err, want)
		}
	}
}
