package check

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// bind starts a named for example.org with this serial.
func bind(t testing.TB, serial int) (string, *os.Process) {
	t.Helper()
	addr, argv := bindCommand(t, serial)
	return addr, serverOf(t, argv, addr)
}

// bindCommand gives what starts it in the foreground, and where it will listen.
func bindCommand(t testing.TB, serial int) (addr string, argv []string) {
	t.Helper()
	dir := t.TempDir()
	addr = freePort(t)
	_, port, _ := net.SplitHostPort(addr)
	zone := write(t, filepath.Join(dir, "zone"), fmt.Sprintf(`$TTL 60
@ SOA ns.example.org. admin.example.org. %d 60 60 60 60
@ NS ns
@ MX 10 mail
ns A 10.2.0.10
www A 10.2.0.80
www A 10.2.0.81
www AAAA fd00:2::80
old CNAME www
note TXT "hello world" " and more"
_ldap._tcp SRV 0 5 389 ldap
`, serial)+bigRecords())
	conf := write(t, filepath.Join(dir, "named.conf"), fmt.Sprintf(`options {
	directory "%[1]s"; pid-file none; session-keyfile none; recursion no; dnssec-validation no; empty-zones-enable no;
	listen-on port %[2]s { 127.0.0.1; }; listen-on-v6 { none; }; max-udp-size 512; allow-query-cache { none; };
};
controls { };
zone "example.org" { type primary; file "%[3]s"; };
`, dir, port, zone))
	return addr, []string{"/usr/sbin/named", "-g", "-n", "1", "-c", conf}
}

// bigRecords are more than a UDP answer carries.
func bigRecords() string {
	var b strings.Builder
	for i := range 9 {
		fmt.Fprintf(&b, "big TXT \"%d%s\"\n", i, strings.Repeat("y", 200))
	}
	return b.String()
}

func TestDNS(t *testing.T) {
	testenv.Need(t, testenv.Netns, "named")
	addr, process := bind(t, 7)
	older, standby := bind(t, 6)
	for _, tt := range []struct {
		name string
		spec DNS
		want string
	}{
		{"any A", DNS{Name: "www.example.org"}, ""},
		{"by TCP", DNS{Name: "www.example.org.", TCP: true}, ""},
		{"this A", DNS{Name: "WWW.example.org", Answer: "10.2.0.81"}, ""},
		{"AAAA", DNS{Name: "www.example.org", Type: "AAAA", Answer: "fd00:2::80"}, ""},
		{"behind a CNAME", DNS{Name: "old.example.org", Answer: "10.2.0.80"}, ""},
		{"CNAME", DNS{Name: "old.example.org", Type: "CNAME", Answer: "www.example.org"}, ""},
		{"MX", DNS{Name: "example.org", Type: "MX", Answer: "10 mail.example.org."}, ""},
		{"NS", DNS{Name: "example.org", Type: "NS", Answer: "NS.example.org"}, ""},
		{"SRV", DNS{Name: "_ldap._tcp.example.org", Type: "SRV", Answer: "0 5 389 ldap.example.org"}, ""},
		{"TXT", DNS{Name: "note.example.org", Type: "TXT", Answer: "hello world and more"}, ""},
		{"SOA", DNS{Name: "example.org", Type: "SOA"}, ""},
		{"more than UDP carries", DNS{Name: "big.example.org", Type: "TXT", Answer: "8" + strings.Repeat("y", 200)}, ""},
		{"no such name", DNS{Name: "gone.example.org", RCode: "NXDOMAIN"}, ""},
		{"the same serial", DNS{Name: "example.org", SerialOf: addr}, ""},

		{"another A", DNS{Name: "www.example.org", Answer: "10.2.0.99"}, `^ADDR says www.example.org A is "10.2.0.8[01], 10.2.0.8[01]", expected 10.2.0.99$`},
		{"NXDOMAIN", DNS{Name: "gone.example.org"}, `^ADDR says NXDOMAIN to gone.example.org A, expected NOERROR$`},
		{"there after all", DNS{Name: "www.example.org", RCode: "NXDOMAIN"}, `^ADDR says NOERROR to www.example.org A, expected NXDOMAIN$`},
		{"none of the type", DNS{Name: "www.example.org", Type: "MX"}, `^ADDR has no MX of www.example.org$`},
		{"not its zone", DNS{Name: "www.google.fr"}, `^ADDR says REFUSED to www.google.fr A, expected NOERROR: it does not answer this client \(allow-query\), or not for this zone$`},
		{"an older second", DNS{Name: "example.org", SerialOf: older}, ""},
		{"a second that is dead", DNS{Name: "example.org", SerialOf: freePort(t)}, ""},
		{"a second without the zone", DNS{Address: addr, Name: "other.org", RCode: "NOERROR", SerialOf: addr}, `^ADDR says REFUSED to other.org SOA, expected NOERROR: .*$`},
		{"a newer second", DNS{Address: older, Name: "example.org", SerialOf: addr}, `^127.0.0.1:\d+ has serial 6 of example.org, older than the 7 of ADDR$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.spec.Address == "" {
				tt.spec.Address = addr
			}
			got, v, _ := once(t, tt.spec, long)
			says(t, tt.name, got, tt.want, addr)
			if tt.want != "" && v != Fail {
				t.Errorf("verdict %v", v)
			}
		})
	}

	ask := DNS{Address: addr, Name: "www.example.org", Answer: "10.2.0.80"}
	slow := ask
	slow.TCP, slow.Address = true, slowly(t, addr, 1)
	got, _, _ := once(t, slow, long)
	says(t, "slow", got, "", slow.Address)
	slow.Address = slowly(t, addr, short/5)
	late(t, "too slow", slow, `^ask ADDR: no answer within TIME$`, slow.Address)

	freeze(t, standby.Pid)
	got, _, _ = once(t, DNS{Address: addr, Name: "example.org", SerialOf: older}, 2*time.Second)
	says(t, "a second that hangs", got, "", addr)

	freeze(t, process.Pid)
	for _, tcp := range []bool{false, true} {
		ask.TCP = tcp
		late(t, "stopped", ask, `^ask ADDR: no answer within TIME$`, addr)
	}
	if err := process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := once(t, ask, long); got != "" {
		t.Errorf("continued: %q", got)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, tcp := range []bool{false, true} {
		ask.TCP = tcp
		eventually(t, func() string {
			got, _, _ := once(t, ask, short) // a question to one that is about to end gets no answer
			return got
		}, addr+" refuses connections: nothing listens there")
	}
}

// Whoever answers, and however: one line, in time.
func TestDNSOfAStranger(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for server, want := range map[string]string{
		"garbage":   `^ADDR does not answer as DNS does$|it closed the connection$`,
		"echo":      `^ADDR does not answer as DNS does$`,
		"mute":      `^ask ADDR: (no answer within TIME|it closed the connection)$`,
		"close":     `^ask ADDR: it closed the connection$`,
		"half open": `^connect to ADDR: no answer within TIME$`,
	} {
		t.Run(server, func(t *testing.T) {
			stranger(t, server, func(addr string) Spec { return DNS{Address: addr, Name: "www.example.org", TCP: true} }, want)
		})
	}
}

// By UDP a wrong answer does not end the question: the right one may still come.
func TestDNSOfALiar(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { c.Close(); all.Wait() })
	all.Go(func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			m.Response = true
			name := m.Questions[0].Name
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{10, 2, 0, 66}}}}
			forged := m
			forged.ID++
			lies := [][]byte{nil, []byte("garbage"), buf[:n]}
			if b, err := forged.Pack(); err == nil {
				lies = append(lies, b)
			}
			if strings.HasPrefix(name.String(), "true.") {
				if b, err := m.Pack(); err == nil {
					lies = append(lies, b)
				}
			}
			for _, b := range lies {
				_, _ = c.WriteTo(b, from)
			}
		}
	})
	addr := c.LocalAddr().String()
	got, _, _ := once(t, DNS{Address: addr, Name: "true.example.org", Answer: "10.2.0.66"}, long)
	says(t, "true", got, "", addr)
	late(t, "false", DNS{Address: addr, Name: "false.example.org"}, `^ADDR does not answer as DNS does$`, addr)
}

func TestDNSValidate(t *testing.T) {
	const at = "127.0.0.1:53"
	for want, spec := range map[string]DNS{
		`address "ns:53" is not ADDRESS:PORT with a literal address`:                  {Address: "ns:53", Name: "a"},
		`name "" is not one of the DNS`:                                               {Address: at},
		`name "a..b" is not one of the DNS`:                                           {Address: at, Name: "a..b"},
		`record "ANY" is none of A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT`:          {Address: at, Name: "a", Type: "ANY"},
		`rcode "OK" is none of NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED`: {Address: at, Name: "a", RCode: "OK"},
		`an answer beside rcode NXDOMAIN: there is none`:                              {Address: at, Name: "a", RCode: "NXDOMAIN", Answer: "10.0.0.1"},
		`serials are compared of SOA records only`:                                    {Address: at, Name: "a", Type: "A", SerialOf: at},
		`address "ns2" is not ADDRESS:PORT with a literal address`:                    {Address: at, Name: "a", SerialOf: "ns2"},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", spec, err, want)
		}
	}
}

// Serials are counted modulo 2^32 (RFC 1982, 3.2).
func TestSerialsWrapAround(t *testing.T) {
	a, b := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	for _, tt := range []struct {
		here, there uint32
		want        string
	}{
		{5, 5, ""},
		{5, 6, "127.0.0.1:1 has serial 5 of z, older than the 6 of 127.0.0.1:2"},
		{1<<32 - 1, 3, "127.0.0.1:1 has serial 4294967295 of z, older than the 3 of 127.0.0.1:2"},
		{3, 1<<32 - 1, ""},
	} {
		got := ""
		if err := compareSerials("z", a, b, tt.here, tt.there); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%d, %d: %q, want %q", tt.here, tt.there, got, tt.want)
		}
	}
}

func FuzzDNSAnswer(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("a."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{q},
		Answers: []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}}}}}
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0, 7, 0x80, 0})
	f.Fuzz(func(t *testing.T, msg []byte) {
		a, err := parseDNS(msg, 7, q)
		if err == nil && (len(a.data) > maxRecords || len(msg) < 12) {
			t.Errorf("%d records of %d bytes", len(a.data), len(msg))
		}
	})
}
