package check

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// dhcpCable is two ends of one: ours has 10.9.0.2, the other lies in a network of its own with 10.9.0.1.
type dhcpCable struct{ here, there, away string }

func lay(t testing.TB) dhcpCable {
	t.Helper()
	hold := exec.Command("unshare", "-n", "sleep", "infinity")
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hold.Process.Kill(); _ = hold.Wait() })
	pid := fmt.Sprint(hold.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if theirs, err := os.Readlink("/proc/" + pid + "/ns/net"); err == nil && theirs != own {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no network of its own")
		}
	}
	c := dhcpCable{here: "dh-here", there: "dh-there", away: pid}
	run(t, "ip", "link", "add", c.here, "type", "veth", "peer", "name", c.there, "netns", pid)
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(c.here); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
	run(t, "ip", "addr", "add", "10.9.0.2/24", "dev", c.here)
	run(t, "ip", "link", "set", c.here, "up")
	for _, words := range []string{"addr add 10.9.0.1/24 dev " + c.there, "link set " + c.there + " up", "link set lo up"} {
		run(t, append([]string{"nsenter", "-t", pid, "-n", "ip"}, strings.Fields(words)...)...)
	}
	return c
}

// dhcpd starts an ISC one on an interface, there or, with away "", here, and gives its file of leases beside it.
func dhcpd(t testing.TB, away, iface, more string) (*os.Process, string) {
	t.Helper()
	dir := t.TempDir()
	leases := write(t, filepath.Join(dir, "leases"), "")
	conf := write(t, filepath.Join(dir, "dhcpd.conf"), `authoritative;
ping-check false;
option domain-name "office.example.org";
option domain-name-servers 10.9.0.1, 10.9.0.3;
subnet 10.9.0.0 netmask 255.255.255.0 { range 10.9.0.100 10.9.0.110; option routers 10.9.0.254; `+more+` }
`)
	argv := []string{"/usr/sbin/dhcpd", "-4", "-f", "-q", "--no-pid", "-cf", conf, "-lf", leases, iface}
	if away != "" {
		argv = append([]string{"nsenter", "-t", away, "-n"}, argv...)
	}
	return serverOf(t, argv), leases
}

const guest = "02:00:00:00:00:99"

func TestDHCP(t *testing.T) {
	testenv.Need(t, testenv.Netns, "dhcpd", "unshare", "nsenter", "ip")
	c := lay(t)
	process, leases := dhcpd(t, c.away, c.there, "")
	inform, discover := DHCP{Address: "10.9.0.1:67"}, DHCP{Discover: true, Interface: c.here, MAC: guest}
	eventually(t, func() string { got, _, _ := once(t, inform, time.Second); return got }, "")
	eventually(t, func() string { got, _, _ := once(t, discover, time.Second); return got }, "")
	all := []string{"routers=10.9.0.254", "domain-name-servers=10.9.0.1, 10.9.0.3", "domain-name=office.example.org", "subnet-mask"}
	for _, tt := range []struct {
		name, server string
		options      []string
		want         string
	}{
		{"server and options", "10.9.0.1", all, ""},
		{"another router", "", []string{"routers=10.9.0.1"}, `^the DHCP server 10\.9\.0\.1 gives routers 10\.9\.0\.254, not 10\.9\.0\.1$`},
		{"another domain", "", []string{"domain-name=example.org"}, `^the DHCP server 10\.9\.0\.1 gives domain-name "office\.example\.org", not example\.org$`},
		{"no such option", "", []string{"ntp-servers"}, `^the DHCP server 10\.9\.0\.1 gives no ntp-servers$`},
	} {
		for _, s := range []DHCP{inform, discover} {
			s.ServerID, s.Options = tt.server, tt.options
			got, v, _ := once(t, s, long)
			says(t, tt.name, got, tt.want, "10.9.0.1:67")
			if tt.want != "" && v != Fail {
				t.Errorf("verdict %v", v)
			}
		}
	}
	for _, s := range []DHCP{inform, discover} {
		s.ServerID = "10.9.0.7"
		comesTo(t, s, `^the DHCP server 10\.9\.0\.1 answers, not 10\.9\.0\.7$`)
	}
	// Several at once share the port, and none takes another's answer.
	var every sync.WaitGroup
	for range 8 {
		every.Go(func() {
			if got, _, _ := once(t, inform, long); got != "" {
				t.Error(got)
			}
		})
	}
	every.Wait()
	if b, err := os.ReadFile(leases); err != nil || bytes.Contains(b, []byte("\nlease ")) {
		t.Errorf("a lease was taken (%v):\n%s", err, b)
	}

	silent := map[string]DHCP{
		`^10\.9\.0\.1:67 gives no DHCP answer within TIME: does it run, and is it authoritative for the network of 10\.9\.0\.2\?$`: inform,
		`^no DHCP server offers an address on dh-here within TIME: does it run, and has it one left\?$`:                            discover,
	}
	freeze(t, process.Pid)
	for want, s := range silent {
		late(t, "stopped", s, want, "ADDR")
	}
	if err := process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, s := range []DHCP{inform, discover} {
		eventually(t, func() string { got, _, _ := once(t, s, time.Second); return got }, "")
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	for want, s := range silent {
		comesTo(t, s, want)
	}
}

// A server on this machine hears frames alone, not what goes by lo.
func TestDHCPOnThisMachine(t *testing.T) {
	testenv.Need(t, testenv.Netns, "dhcpd", "unshare", "nsenter", "ip")
	c := lay(t)
	dhcpd(t, "", c.here, "")
	for name, s := range map[string]DHCP{
		"inform":   {Address: "10.9.0.2:67", Interface: c.here, ServerID: "10.9.0.2", Options: []string{"routers=10.9.0.254"}},
		"discover": {Discover: true, Interface: c.here, MAC: guest, ServerID: "10.9.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			eventually(t, func() string { got, _, _ := once(t, s, time.Second); return got }, "")
		})
	}
}

// comesTo asks with a short timeout until the reason is the one that is wanted.
func comesTo(t *testing.T, s Spec, want string) {
	t.Helper()
	eventually(t, func() string {
		got, _, took := once(t, s, short)
		if took > within {
			t.Errorf("after %v", took)
		}
		if matches(strings.ReplaceAll(want, "TIME", waited.String()), got) {
			return want
		}
		return got
	}, want)
}

// Whoever answers, and however: one line, in time; and what does not belong to the question does not end it.
func TestDHCPOfAStranger(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for name, tt := range map[string]struct {
		reply func(*dhcpv4.DHCPv4) [][]byte
		want  string
	}{
		"garbage": {func(*dhcpv4.DHCPv4) [][]byte { return [][]byte{[]byte("garbage"), {}} }, `^what answers at port 67 does not do so as DHCP does$`},
		"echo":    {func(q *dhcpv4.DHCPv4) [][]byte { return [][]byte{q.ToBytes()} }, `^127\.0\.0\.1:67 gives no DHCP answer within .*$`},
		"another's": {func(q *dhcpv4.DHCPv4) [][]byte {
			q.TransactionID[0]++
			return [][]byte{acknowledge(q, dhcpv4.MessageTypeAck)}
		}, `^127\.0\.0\.1:67 gives no DHCP answer within .*$`},
		"no": {func(q *dhcpv4.DHCPv4) [][]byte { return [][]byte{acknowledge(q, dhcpv4.MessageTypeNak)} }, `^the DHCP server 127\.0\.0\.1 refuses \(DHCPNAK\)$`},
		"after garbage": {func(q *dhcpv4.DHCPv4) [][]byte {
			return [][]byte{[]byte("garbage"), acknowledge(q, dhcpv4.MessageTypeAck)}
		}, `^$`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.ListenPacket("udp", "127.0.0.1:67")
			if err != nil {
				t.Fatal(err)
			}
			over := make(chan struct{})
			go func() {
				defer close(over)
				b := make([]byte, maxDHCP)
				for {
					n, from, err := c.ReadFrom(b)
					if err != nil {
						return
					}
					q, err := dhcpv4.FromBytes(b[:n])
					if err != nil {
						continue
					}
					for _, answer := range tt.reply(q) {
						_, _ = c.WriteTo(answer, from)
					}
				}
			}()
			defer func() { c.Close(); <-over }()
			comesTo(t, DHCP{Address: "127.0.0.1:67"}, tt.want)
		})
	}
}

func acknowledge(q *dhcpv4.DHCPv4, kind dhcpv4.MessageType) []byte {
	m, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(127, 0, 0, 1))))
	if err != nil {
		return nil
	}
	return m.ToBytes()
}

func TestDHCPOfNoInterface(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for want, s := range map[string]DHCP{
		"there is no interface ghost": {Discover: true, Interface: "ghost", MAC: guest},
		"there is no interface spook": {Address: "10.9.0.1:67", Interface: "spook"},
		"lo is no Ethernet":           {Discover: true, Interface: "lo", MAC: guest},
	} {
		if got, _, _ := once(t, s, long); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzDHCPFrames(f *testing.F) {
	message := []byte("message")
	client := netip.AddrPortFrom(everybodyIPv4, portDHCPClient)
	f.Add(dhcpFrame(everybody, everybody, client, client, message))
	f.Add(dhcpFrame(everybody, everybody, client, client, nil)[:etherLen+ipv4Len])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := dhcpMessage(b)
		if len(m) > len(b) || !ok && m != nil {
			t.Errorf("%d of %d bytes, %v", len(m), len(b), ok)
		}
		if len(b) > maxDHCP {
			return
		}
		if got, ok := dhcpMessage(dhcpFrame(everybody, everybody, client, client, b)); !ok || !bytes.Equal(got, b) {
			t.Errorf("%x came back as %x, %v", b, got, ok)
		}
	})
}

func BenchmarkDHCP(b *testing.B) {
	testenv.Need(b, testenv.Netns, "dhcpd", "unshare", "nsenter", "ip")
	c := lay(b)
	dhcpd(b, c.away, c.there, "")
	for name, s := range map[string]DHCP{"inform": {Address: "10.9.0.1:67"}, "discover": {Discover: true, Interface: c.here, MAC: guest}} {
		p, err := s.Probe(Env{})
		if err != nil {
			b.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); !answersWithin(p, time.Second); {
			if time.Now().After(deadline) {
				b.Fatal("no server")
			}
		}
		b.Run(name, func(b *testing.B) { bench(b, s) })
	}
}
