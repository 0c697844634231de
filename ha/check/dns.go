package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS asks a name server (RFC 1035), by UDP or TCP, and holds its answer against what is expected.
type DNS struct {
	Address  string // "127.0.0.1:53": a literal address
	Name     string // "www.example.org"
	Type     string // one of DNSTypes; empty: A
	RCode    string // one of DNSRCodes; empty: NOERROR
	Answer   string // the data of one of the records of that type, as a zone file has it; empty: any, but at least one with NOERROR
	TCP      bool
	SerialOf string // a second server, whose SOA serial of Name must not be newer, if it answers; Type is SOA then
}

// maxUDP is what a plain UDP answer may have, in bytes (RFC 1035, 4.2.1), and more for a server that does not care; maxDNS one by TCP.
const (
	maxUDP = 4 << 10
	maxDNS = 64 << 10
)

// maxRecords bounds what is looked at of an answer.
const maxRecords = 1000

var dnsTypes = map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME, "MX": dnsmessage.TypeMX,
	"NS": dnsmessage.TypeNS, "PTR": dnsmessage.TypePTR, "SOA": dnsmessage.TypeSOA, "SRV": dnsmessage.TypeSRV, "TXT": dnsmessage.TypeTXT}

// dnsRCodes are those of RFC 1035, 4.1.1, by their number.
var dnsRCodes = []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}

// DNSTypes gives the types of records that a check can ask for, sorted.
func DNSTypes() []string {
	var all []string
	for t := range dnsTypes {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

// DNSRCodes gives the response codes that a check can expect.
func DNSRCodes() []string { return slices.Clone(dnsRCodes) }

// Kind implements Spec.
func (DNS) Kind() string { return "dns" }

// Validate implements Spec.
func (s DNS) Validate() error {
	_, err := dnsmessage.NewName(absolute(s.Name))
	_, known := dnsTypes[s.recordType()]
	switch {
	case validAddrPort(s.Address) != nil:
		return validAddrPort(s.Address)
	case s.Name == "" || err != nil || strings.Contains(s.Name, ".."):
		return fmt.Errorf("name %q is not one of the DNS", s.Name)
	case !known:
		return fmt.Errorf("record %q is none of %s", s.Type, strings.Join(DNSTypes(), ", "))
	case s.RCode != "" && !slices.Contains(dnsRCodes, s.RCode):
		return fmt.Errorf("rcode %q is none of %s", s.RCode, strings.Join(dnsRCodes, ", "))
	case s.Answer != "" && s.rcode() != "NOERROR":
		return fmt.Errorf("an answer beside rcode %s: there is none", s.RCode)
	case s.SerialOf != "" && validAddrPort(s.second()) != nil:
		return validAddrPort(s.second())
	case s.SerialOf != "" && (s.recordType() != "SOA" || s.rcode() != "NOERROR"):
		return errors.New("serials are compared of SOA records only")
	}
	return nil
}

func (s DNS) recordType() string {
	if s.Type == "" && s.SerialOf != "" {
		return "SOA"
	}
	if s.Type == "" {
		return "A"
	}
	return s.Type
}

func (s DNS) rcode() string {
	if s.RCode == "" {
		return dnsRCodes[0]
	}
	return s.RCode
}

// second is SerialOf with the port of DNS where that has none.
func (s DNS) second() string {
	if a, err := netip.ParseAddr(s.SerialOf); err == nil {
		return netip.AddrPortFrom(a, 53).String()
	}
	return s.SerialOf
}

func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// Probe implements Spec.
func (s DNS) Probe(Env) (Probe, error) {
	at, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return nil, err
	}
	p := &dnsProbe{spec: s, at: at}
	if s.SerialOf != "" {
		if p.second, err = netip.ParseAddrPort(s.second()); err != nil {
			return nil, err
		}
	}
	return p, nil
}

type dnsProbe struct {
	spec   DNS
	at     netip.AddrPort
	second netip.AddrPort
	kept   keptUDP
}

func (p *dnsProbe) Close() { p.kept.drop() }

func (p *dnsProbe) Ask(ctx context.Context) error {
	got, err := p.answer(ctx, p.at)
	if err != nil {
		return err
	}
	if err := p.spec.judge(p.at, got); err != nil || !p.second.IsValid() {
		return err
	}
	return p.compare(ctx, got.serial)
}

// compare asks the second server for its serial. One that does not answer, or not with a serial, says nothing of this one, which did: a node whose peer
// is dead is well.
func (p *dnsProbe) compare(ctx context.Context, here uint32) error {
	if deadline, ok := ctx.Deadline(); ok { // so that one that hangs leaves time for the verdict
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	other, err := p.answer(ctx, p.second)
	if err != nil || p.spec.judge(p.second, other) != nil {
		return nil
	}
	return compareSerials(p.spec.Name, p.at, p.second, here, other.serial)
}

// compareSerials tells whether the first of two servers is behind (RFC 1982, 3.2). One that is ahead is well: the zone has changed there first.
func compareSerials(name string, at, second netip.AddrPort, here, there uint32) error {
	if int32(there-here) > 0 {
		return fmt.Errorf("%v has serial %d of %s, older than the %d of %v", at, here, name, there, second)
	}
	return nil
}

// dnsAnswer is what a server said, as far as a check looks at it.
type dnsAnswer struct {
	rcode  dnsmessage.RCode
	data   []string // of the records of the type asked for, as a zone file has them
	serial uint32   // of the last SOA
	cut    bool     // truncated: TCP has the rest
}

// judge holds an answer against what is expected.
func (s DNS) judge(at netip.AddrPort, a dnsAnswer) error {
	said := fmt.Sprintf("%v says %s to %s %s", at, rcodeName(a.rcode), s.Name, s.recordType())
	if rcodeName(a.rcode) != s.rcode() {
		if a.rcode == dnsmessage.RCodeRefused {
			return fmt.Errorf("%s, expected %s: it does not answer this client (allow-query), or not for this zone", said, s.rcode())
		}
		return fmt.Errorf("%s, expected %s", said, s.rcode())
	}
	if s.rcode() != dnsRCodes[0] {
		return nil
	}
	if len(a.data) == 0 {
		return fmt.Errorf("%v has no %s of %s", at, s.recordType(), s.Name)
	}
	if s.Answer == "" || slices.ContainsFunc(a.data, func(d string) bool { return sameData(d, s.Answer) }) {
		return nil
	}
	return fmt.Errorf("%v says %s %s is %s, expected %s", at, s.Name, s.recordType(), shortQuote([]byte(strings.Join(a.data, ", "))), s.Answer)
}

// sameData compares without regard to case, blanks and the last dot, which people leave out.
func sameData(a, b string) bool {
	norm := func(s string) string {
		return strings.TrimSuffix(strings.ToLower(strings.Join(strings.Fields(s), " ")), ".")
	}
	return norm(a) == norm(b)
}

func rcodeName(r dnsmessage.RCode) string {
	if int(r) < len(dnsRCodes) {
		return dnsRCodes[r]
	}
	return fmt.Sprintf("rcode %d", r)
}

// answer asks one server.
func (p *dnsProbe) answer(ctx context.Context, at netip.AddrPort) (dnsAnswer, error) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName(absolute(p.spec.Name)), Type: dnsTypes[p.spec.recordType()], Class: dnsmessage.ClassINET}
	id := uint16(rand.Uint32())
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}
	query, err := m.Pack()
	if err != nil {
		return dnsAnswer{}, fmt.Errorf("ask for %s: %w", p.spec.Name, err)
	}
	if p.spec.TCP {
		return askTCP(ctx, at, query, id, q)
	}
	a, err := p.askUDP(ctx, at, query, id, q)
	if err == nil && a.cut {
		return askTCP(ctx, at, query, id, q)
	}
	return a, err
}

func askTCP(ctx context.Context, at netip.AddrPort, query []byte, id uint16, q dnsmessage.Question) (dnsAnswer, error) {
	cut, err := dial(ctx, at, 2+maxDNS)
	if err != nil {
		return dnsAnswer{}, err
	}
	defer cut.Close()
	if _, err := cut.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil { // RFC 1035, 4.2.2
		return dnsAnswer{}, cut.explain("ask", err)
	}
	var size [2]byte
	if _, err := io.ReadFull(cut, size[:]); err != nil {
		return dnsAnswer{}, cut.explain("ask", err)
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(cut, msg); err != nil {
		return dnsAnswer{}, cut.explain("ask", err)
	}
	a, err := parseDNS(msg, id, q)
	if err != nil {
		return dnsAnswer{}, fmt.Errorf("%v does not answer as DNS does", at)
	}
	return a, nil
}

var errNotOurs = errors.New("it is no answer to the question")

// parseDNS reads the answer to a question.
func parseDNS(msg []byte, id uint16, q dnsmessage.Question) (dnsAnswer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return dnsAnswer{}, err
	}
	asked, err := p.AllQuestions()
	if err != nil {
		return dnsAnswer{}, err
	}
	if !h.Response || h.ID != id || len(asked) > 1 || len(asked) == 0 && h.RCode == dnsmessage.RCodeSuccess ||
		len(asked) == 1 && (asked[0].Type != q.Type || asked[0].Class != q.Class || !strings.EqualFold(asked[0].Name.String(), q.Name.String())) {
		return dnsAnswer{}, errNotOurs
	}
	a := dnsAnswer{rcode: h.RCode, cut: h.Truncated}
	for range maxRecords {
		r, err := p.Answer()
		if errors.Is(err, dnsmessage.ErrSectionDone) || err != nil && a.cut {
			break
		}
		if err != nil {
			return dnsAnswer{}, err
		}
		if r.Header.Type != q.Type || r.Header.Class != q.Class {
			continue // a CNAME on the way
		}
		if soa, ok := r.Body.(*dnsmessage.SOAResource); ok {
			a.serial = soa.Serial
		}
		a.data = append(a.data, dataOf(r.Body))
	}
	return a, nil
}

// dataOf gives a record's data as a zone file has it (RFC 1035, 5.1; SRV: RFC 2782).
func dataOf(body dnsmessage.ResourceBody) string {
	switch b := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return b.CNAME.String()
	case *dnsmessage.NSResource:
		return b.NS.String()
	case *dnsmessage.PTRResource:
		return b.PTR.String()
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", b.Pref, b.MX)
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, b.Target)
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %s %d %d %d %d %d", b.NS, b.MBox, b.Serial, b.Refresh, b.Retry, b.Expire, b.MinTTL)
	case *dnsmessage.TXTResource:
		return strings.Join(b.TXT, "")
	}
	return ""
}
