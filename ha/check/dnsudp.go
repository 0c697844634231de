package check

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// questionsPerSocket is how many questions in a row leave one socket: a socket for each costs a third of a check, and one for good would have the same
// port for ever.
const questionsPerSocket = 10

// keptUDP is a connected socket for several questions to a server on this machine. Elsewhere the source address may go, and a question would be lost.
type keptUDP struct {
	conn  *net.UDPConn
	asked int
}

func (k *keptUDP) drop() {
	if k.conn != nil {
		_ = k.conn.Close()
	}
	*k = keptUDP{}
}

// open gives the socket for the next question.
func (k *keptUDP) open(ctx context.Context, at netip.AddrPort) (*net.UDPConn, error) {
	if k.asked >= questionsPerSocket {
		k.drop()
	}
	if k.conn == nil {
		var d net.Dialer
		c, err := d.DialUDP(ctx, "udp", netip.AddrPort{}, at)
		if err != nil {
			return nil, err
		}
		k.conn = c
	}
	k.asked++
	return k.conn, nil
}

// askUDP asks a server. A socket on which anything went wrong asks nothing more: a late answer has to reach nobody.
func (p *dnsProbe) askUDP(ctx context.Context, at netip.AddrPort, query []byte, id uint16, q dnsmessage.Question) (dnsAnswer, error) {
	cut := begin(at, maxUDP)
	kept := &p.kept
	if at != p.at {
		kept = new(keptUDP)
		defer kept.drop()
	}
	c, err := kept.open(ctx, at)
	if err != nil {
		return dnsAnswer{}, cut.explain("ask", err)
	}
	well := false
	defer func() {
		if !well {
			kept.drop()
		}
	}()
	deadline, _ := ctx.Deadline() // zero: none
	if err := c.SetDeadline(deadline); err != nil {
		return dnsAnswer{}, cut.explain("ask", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(query); err != nil {
		return dnsAnswer{}, cut.explain("ask", err)
	}
	buf := make([]byte, maxUDP)
	strange := false
	for {
		n, err := c.Read(buf)
		if err != nil {
			if strange {
				return dnsAnswer{}, fmt.Errorf("%v does not answer as DNS does", at)
			}
			return dnsAnswer{}, cut.explain("ask", err)
		}
		// An answer to another question may be a late one, or forged: the right one may still come.
		if a, err := parseDNS(buf[:n], id, q); err == nil {
			well = stop() && at.Addr().IsLoopback() // not stopped: it may set the deadline at any later moment
			return a, nil
		}
		strange = true
	}
}
