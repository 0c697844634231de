package ping

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// ErrNoAnswer says that nobody answered in time.
var ErrNoAnswer = errors.New("no answer to a ping")

// maxReply bounds what is read of a packet, in bytes; ours are far smaller.
const maxReply = 1500

// family is what differs between IPv4 and IPv6.
type family struct {
	network  string // of net.ListenPacket: a raw socket, which needs CAP_NET_RAW
	protocol int    // as the kernel numbers it
	request  icmp.Type
	reply    icmp.Type
}

var (
	v4 = family{"ip4:icmp", 1, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply}
	v6 = family{"ip6:ipv6-icmp", 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply}
)

func familyOf(addr netip.Addr) family {
	if addr.Is4() {
		return v4
	}
	return v6
}

// Once sends one echo request to addr and waits for its answer, at most until wait or ctx is over: then the error is ErrNoAnswer. An
// address that cannot be reached at all is the kernel's own error.
func Once(ctx context.Context, addr netip.Addr, wait time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f := familyOf(addr)
	conn, err := icmp.ListenPacket(f.network, "")
	if err != nil {
		return fmt.Errorf("open a socket for a ping: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return fmt.Errorf("ping %v: %w", addr, err)
	}
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	echo := &icmp.Echo{ID: int(nonce[0])<<8 | int(nonce[1]), Seq: 1, Data: nonce}
	packet, err := (&icmp.Message{Type: f.request, Body: echo}).Marshal(nil) // the kernel fills in ICMPv6's checksum (RFC 3542, 3.1)
	if err != nil {
		return fmt.Errorf("ping %v: %w", addr, err)
	}
	if _, err := conn.WriteTo(packet, &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}); err != nil {
		return fmt.Errorf("ping %v: %w", addr, cause(err))
	}
	buf := make([]byte, maxReply)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
				return ErrNoAnswer
			}
			return fmt.Errorf("wait for the answer to a ping: %w", cause(err))
		}
		// A raw socket hears every echo reply of the host: only our own nonce from there counts.
		if ip, ok := from.(*net.IPAddr); ok && ip.IP.Equal(addr.AsSlice()) && answers(f, buf[:n], echo) {
			return nil
		}
	}
}

// answers reports whether a packet is the reply to an echo request.
func answers(f family, packet []byte, asked *icmp.Echo) bool {
	m, err := icmp.ParseMessage(f.protocol, packet)
	if err != nil || m.Type != f.reply || m.Code != 0 {
		return false
	}
	got, ok := m.Body.(*icmp.Echo)
	return ok && got.ID == asked.ID && got.Seq == asked.Seq && bytes.Equal(got.Data, asked.Data)
}

// cause takes net's frame off, which repeats the address.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
