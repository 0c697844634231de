package check

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// DHCP asks a DHCP server (RFC 2131) and takes nothing. By default it is DHCPINFORM, which is about options alone; with Discover it is how far a new
// client comes with its first message, and the server's offer is left to expire.
type DHCP struct {
	Address   string   // of the server, "10.2.0.2:67": a literal IPv4 address; not with Discover
	Interface string   // where to ask; without Discover only for a server on this machine, which does not hear what goes by lo (ISC dhcpd)
	Discover  bool     // DHCPDISCOVER by broadcast on Interface. A server may ping an address before it offers it: a timeout of 4 s is sensible
	MAC       string   // who asks with Discover, so that the same address is offered each time
	ServerID  string   // who has to answer (RFC 2132, 9.7); empty: anybody
	Options   []string // what the answer has to hold: "routers=10.2.0.1", or only "routers"; see dhcpOptions for the names
}

// Bounds and ports of DHCP.
const (
	portDHCPServer = 67
	portDHCPClient = 68
	maxDHCP        = 1500 // bytes: one frame
	maxDHCPOptions = 32   // that a check may ask for
)

// dhcpOptions are those of RFC 2132, as dhcpd.conf(5) calls them; addresses or else text.
var dhcpOptions = map[string]struct {
	code      uint8
	addresses bool
}{
	"subnet-mask": {1, true}, "routers": {3, true}, "domain-name-servers": {6, true}, "host-name": {12, false}, "domain-name": {15, false},
	"broadcast-address": {28, true}, "ntp-servers": {42, true}, "netbios-name-servers": {44, true}, "tftp-server-name": {66, false}, "bootfile-name": {67, false},
}

// Kind implements Spec.
func (DHCP) Kind() string { return "dhcp" }

// Validate implements Spec.
func (s DHCP) Validate() error {
	at, err := netip.ParseAddrPort(s.Address)
	id, errID := netip.ParseAddr(s.ServerID)
	mac, errMAC := net.ParseMAC(s.MAC)
	switch {
	case s.Discover && (s.Interface == "" || s.MAC == ""):
		return errors.New("discover needs interface and mac")
	case s.Discover && (errMAC != nil || len(mac) != 6 || mac[0]&1 != 0):
		return fmt.Errorf("mac %q is not one of a client such as 02:00:00:00:00:01", s.MAC)
	case s.Discover && s.Address != "":
		return errors.New("discover is a broadcast: server_id says who has to answer, not target")
	case !s.Discover && s.MAC != "":
		return errors.New("mac needs discover")
	case !s.Discover && (err != nil || !at.Addr().Is4() || at.Port() == 0):
		return fmt.Errorf("address %q is not ADDRESS:PORT with a literal IPv4 address", s.Address)
	case s.ServerID != "" && (errID != nil || !id.Is4()):
		return fmt.Errorf("server_id %q is not an IPv4 address", s.ServerID)
	case len(s.Options) > maxDHCPOptions:
		return fmt.Errorf("more than %d options", maxDHCPOptions)
	}
	for _, o := range s.Options {
		name, value, valued := strings.Cut(o, "=")
		known, ok := dhcpOptions[name]
		if !ok {
			return fmt.Errorf("option %q is not one of %s", name, strings.Join(dhcpOptionNames(), ", "))
		}
		if _, err := addressList(value); valued && (value == "" || known.addresses && err != nil) {
			return fmt.Errorf("option %q has no value that it could have", o)
		}
	}
	return nil
}

func dhcpOptionNames() []string {
	var all []string
	for name := range dhcpOptions {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// addressList reads "10.2.0.1, 10.2.0.2".
func addressList(s string) ([]byte, error) {
	var all []byte
	for a := range strings.SplitSeq(s, ",") {
		ip, err := netip.ParseAddr(strings.TrimSpace(a))
		if err != nil || !ip.Is4() {
			return nil, fmt.Errorf("%q is not an IPv4 address", a)
		}
		all = append(all, ip.AsSlice()...)
	}
	return all, nil
}

// Probe implements Spec.
func (s DHCP) Probe(Env) (Probe, error) {
	p := &dhcpProbe{spec: s}
	var err error
	if s.Discover {
		p.mac, err = net.ParseMAC(s.MAC)
		return p, err
	}
	p.at, err = netip.ParseAddrPort(s.Address)
	p.mac = net.HardwareAddr{2, 'k', 'v', 'm', 'h', 'a'} // of no card: INFORM is about the address
	return p, err
}

type dhcpProbe struct {
	spec DHCP
	at   netip.AddrPort
	mac  net.HardwareAddr
}

func (*dhcpProbe) Close() {}

func (p *dhcpProbe) Ask(ctx context.Context) error {
	if p.spec.Discover {
		return p.discover(ctx)
	}
	return p.inform(ctx)
}

// question makes the message; client is nobody's with Discover.
func (p *dhcpProbe) question(kind dhcpv4.MessageType, client netip.Addr) (*dhcpv4.DHCPv4, error) {
	codes := []dhcpv4.OptionCode{dhcpv4.OptionSubnetMask}
	for _, o := range p.spec.Options {
		name, _, _ := strings.Cut(o, "=")
		codes = append(codes, dhcpv4.GenericOptionCode(dhcpOptions[name].code))
	}
	all := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(p.mac), dhcpv4.WithRequestedOptions(codes...)}
	if client.IsValid() {
		all = append(all, dhcpv4.WithClientIP(client.AsSlice()))
	} else {
		all = append(all, dhcpv4.WithBroadcast(true)) // nobody here answers to an ARP for what is offered
	}
	m, err := dhcpv4.New(all...)
	if err != nil {
		return nil, fmt.Errorf("make a DHCP message: %w", err)
	}
	return m, nil
}

// What an answer may be to a question, beside one.
var (
	errNotDHCP    = errors.New("no DHCP")
	errOtherReply = errors.New("an answer to another question")
)

// otherServerError says that somebody answered who should not.
type otherServerError struct{ got, want string }

func (e *otherServerError) Error() string {
	return fmt.Sprintf("the DHCP server %s answers, not %s", e.got, e.want)
}

// judge holds a datagram against what is expected. errNotDHCP, errOtherReply and otherServerError: the right one may still come.
func (p *dhcpProbe) judge(b []byte, asked *dhcpv4.DHCPv4, want dhcpv4.MessageType) error {
	if len(b) > maxDHCP {
		return errNotDHCP
	}
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		return errNotDHCP
	}
	kind := m.MessageType()
	if m.OpCode != dhcpv4.OpcodeBootReply || m.TransactionID != asked.TransactionID || m.ClientHWAddr.String() != asked.ClientHWAddr.String() ||
		kind != want && kind != dhcpv4.MessageTypeNak {
		return errOtherReply
	}
	server := "without an identifier"
	if id := m.Options.Get(dhcpv4.OptionServerIdentifier); len(id) == 4 {
		server = netip.AddrFrom4([4]byte(id)).String()
	}
	if p.spec.ServerID != "" && server != p.spec.ServerID {
		return &otherServerError{server, p.spec.ServerID}
	}
	if kind == dhcpv4.MessageTypeNak {
		return fmt.Errorf("the DHCP server %s refuses (DHCPNAK)", server)
	}
	for _, o := range p.spec.Options {
		if err := judgeOption(m, server, o); err != nil {
			return err
		}
	}
	return nil
}

func judgeOption(m *dhcpv4.DHCPv4, server, o string) error {
	name, value, valued := strings.Cut(o, "=")
	kind := dhcpOptions[name]
	got := m.Options.Get(dhcpv4.GenericOptionCode(kind.code))
	want := []byte(value)
	if kind.addresses {
		want, _ = addressList(value) // Validate has read it
	} else {
		got = []byte(strings.TrimRight(string(got), "\x00")) // RFC 2132, 2: some servers end text so
	}
	switch {
	case len(got) == 0:
		return fmt.Errorf("the DHCP server %s gives no %s", server, name)
	case valued && string(got) != string(want):
		return fmt.Errorf("the DHCP server %s gives %s %s, not %s", server, name, optionText(got, kind.addresses), value)
	}
	return nil
}

func optionText(b []byte, addresses bool) string {
	if !addresses {
		return shortQuote(b)
	}
	const most = 4
	if len(b)%4 != 0 || len(b) > 4*most {
		return hex.EncodeToString(b[:min(len(b), 4*most)]) + "…"
	}
	var all []string
	for a := range slices.Chunk(b, 4) {
		all = append(all, netip.AddrFrom4([4]byte(a)).String())
	}
	return strings.Join(all, ",")
}

// wait judges what next gives until one answer counts. unanswered words that none came.
func (p *dhcpProbe) wait(asked *dhcpv4.DHCPv4, want dhcpv4.MessageType, next func() ([]byte, error), unanswered func(waited time.Duration) error) error {
	began := begin(p.at, maxDHCP).began
	var seen error
	for {
		b, err := next()
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			if seen != nil {
				return seen
			}
			return unanswered(time.Since(began).Round(10 * time.Millisecond))
		}
		if err != nil {
			return err
		}
		err = p.judge(b, asked, want)
		other, elsewhere := errors.AsType[*otherServerError](err)
		switch {
		case elsewhere:
			seen = other
		case errors.Is(err, errNotDHCP):
			if seen == nil {
				seen = errors.New("what answers at port 67 does not do so as DHCP does")
			}
		case !errors.Is(err, errOtherReply):
			return err
		}
	}
}
