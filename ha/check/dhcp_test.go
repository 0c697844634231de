package check

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func matches(want, got string) bool { return regexp.MustCompile(want).MatchString(got) }

// answersWithin asks once.
func answersWithin(p Probe, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return p.Ask(ctx) == nil
}

func TestDHCPValidate(t *testing.T) {
	const at = "10.2.0.2:67"
	for want, s := range map[string]DHCP{
		`address "dhcp:67" is not ADDRESS:PORT with a literal IPv4 address`:        {Address: "dhcp:67"},
		`address "[fd00::1]:67" is not ADDRESS:PORT with a literal IPv4 address`:   {Address: "[fd00::1]:67"},
		`discover needs interface and mac`:                                         {Discover: true, Interface: "eth0"},
		`mac "03:00:00:00:00:01" is not one of a client such as 02:00:00:00:00:01`: {Discover: true, Interface: "eth0", MAC: "03:00:00:00:00:01"},
		`discover is a broadcast: server_id says who has to answer, not target`:    {Discover: true, Interface: "eth0", MAC: "02:00:00:00:00:01", Address: at},
		`mac needs discover`:                                    {Address: at, MAC: "02:00:00:00:00:01"},
		`server_id "olorin" is not an IPv4 address`:             {Address: at, ServerID: "olorin"},
		`option "routers=eth0" has no value that it could have`: {Address: at, Options: []string{"routers=eth0"}},
		`option "domain-name=" has no value that it could have`: {Address: at, Options: []string{"domain-name="}},
		`option "router" is not one of bootfile-name, broadcast-address, domain-name, domain-name-servers, host-name, netbios-name-servers, ntp-servers, routers, subnet-mask, tftp-server-name`: {Address: at, Options: []string{"router"}},
	} {
		if err := s.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func FuzzDHCPAnswers(f *testing.F) {
	s := DHCP{Address: "10.2.0.2:67", ServerID: "10.2.0.2", Options: []string{"routers=10.2.0.1", "domain-name"}}
	made, err := s.Probe(Env{})
	if err != nil {
		f.Fatal(err)
	}
	p := made.(*dhcpProbe)
	asked, err := p.question(dhcpv4.MessageTypeInform, p.at.Addr())
	if err != nil {
		f.Fatal(err)
	}
	asked.TransactionID = dhcpv4.TransactionID{}
	good, err := dhcpv4.NewReplyFromRequest(asked, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithGeneric(dhcpv4.OptionServerIdentifier, []byte{10, 2, 0, 2}),
		dhcpv4.WithGeneric(dhcpv4.OptionRouter, []byte{10, 2, 0, 1}), dhcpv4.WithGeneric(dhcpv4.OptionDomainName, []byte("example.org\x00")))
	if err != nil {
		f.Fatal(err)
	}
	b := good.ToBytes()
	if err := p.judge(b, asked, dhcpv4.MessageTypeAck); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:240])
	f.Add(asked.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := p.judge(b, asked, dhcpv4.MessageTypeAck); err == nil && (len(b) < 240 || b[0] != 2) {
			t.Errorf("taken for an answer: %x", b)
		}
	})
}
