package carp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

func TestFramesInAllTheirForms(t *testing.T) {
	a := Advert{VHID: 7, Base: 1, Skew: 2, Counter: 3}
	payload := hex.EncodeToString(a.Append(nil))
	for _, tt := range []struct {
		name  string
		frame Frame
		want  string // headers
	}{
		{"IPv4 from the virtual MAC (FreeBSD, OpenBSD)",
			NewFrame(a, VirtualMAC(7), netip.MustParseAddr("10.0.0.1"), Group4),
			"01005e000012" + "00005e000107" + "0800" + "4510003800004000ff709132" + "0a000001" + "e0000012"},
		{"IPv4 to a peer",
			func() Frame {
				f := NewFrame(a, MAC{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"))
				f.DstMAC = MAC{2, 0, 0, 0, 0, 2}
				return f
			}(),
			"020000000002" + "020000000001" + "0800" + "4510003800004000ff706743" + "0a000001" + "0a000002"},
		{"IPv6 to ff02::12, from a link-local address with a zone",
			NewFrame(a, VirtualMAC(7), netip.MustParseAddr("fe80::7%eth0"), Group6),
			"333300000012" + "00005e000107" + "86dd" + "61000000" + "0024" + "70" + "ff" +
				"fe800000000000000000000000000007" + "ff020000000000000000000000000012"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.frame.Append(nil)
			if got := hex.EncodeToString(b); got != tt.want+payload {
				t.Errorf("built\n%s, want\n%s", got, tt.want+payload)
			}
			padded := append(bytes.Clone(b), 0, 0, 0, 0)
			got, err := ParseFrame(padded)
			if d := cmp.Diff(tt.frame, got, byAddress); err != nil || d != "" {
				t.Errorf("parsed: %v\n%s", err, d)
			}
			independent(t, tt.frame, b)
		})
	}
}

// independent lets golang.org/x/net read the headers.
func independent(t *testing.T, f Frame, b []byte) {
	t.Helper()
	if f.Dst.Is4() {
		h, err := ipv4.ParseHeader(b[etherSize:])
		if err != nil || h.Len != 20 || h.TotalLen != 56 || h.TTL != 255 || h.Protocol != 112 || h.Flags != ipv4.DontFragment || h.Dst.String() != f.Dst.String() {
			t.Errorf("x/net reads %v, %v", h, err)
		}
		return
	}
	h, err := ipv6.ParseHeader(b[etherSize:])
	if err != nil || h.PayloadLen != 36 || h.HopLimit != 255 || h.NextHeader != 112 || h.TrafficClass != 0x10 || h.Dst.String() != f.Dst.String() {
		t.Errorf("x/net reads %v, %v", h, err)
	}
}

func TestParseFrameRefuses(t *testing.T) {
	v4 := unhex(t, captured)
	v6 := NewFrame(Advert{VHID: 7, Base: 1}, VirtualMAC(7), netip.MustParseAddr("fe80::7"), Group6).Append(nil)
	fix := func(b []byte) []byte { // the header's checksum is right again
		b[24], b[25] = 0, 0
		binary.BigEndian.PutUint16(b[24:], checksum(0, b[14:34]))
		return b
	}
	for _, tt := range []struct {
		name string
		from []byte
		edit func(b []byte) []byte
		want error
	}{
		{"no whole Ethernet header", v4, func(b []byte) []byte { return b[:13] }, ErrNotCARP},
		{"ARP", v4, func(b []byte) []byte { b[13] = 6; return b }, ErrNotCARP},
		{"UDP", v4, func(b []byte) []byte { b[23] = 17; return b }, ErrNotCARP},
		{"half an IPv4 header", v4, func(b []byte) []byte { return b[:30] }, ErrNotCARP},
		{"a header of 16 bytes", v4, func(b []byte) []byte { b[14] = 0x44; return b }, ErrHeader},
		{"IP version 5", v4, func(b []byte) []byte { b[14] = 0x55; return b }, ErrHeader},
		{"longer than the frame", v4, func(b []byte) []byte { b[17]++; return b }, ErrHeader},
		{"shorter than its header", v4, func(b []byte) []byte { b[17] = 19; return b }, ErrHeader},
		{"a fragment", v4, func(b []byte) []byte { b[20] |= 0x20; return fix(b) }, ErrHeader},
		{"a wrong header checksum", v4, func(b []byte) []byte { b[24]++; return b }, ErrChecksum},
		{"cut short, header right", v4, func(b []byte) []byte { b[17]--; return fix(b[:69]) }, ErrSize},
		{"half an IPv6 header", v6, func(b []byte) []byte { return b[:50] }, ErrNotCARP},
		{"IPv6 with an extension header", v6, func(b []byte) []byte { b[20] = 0; return b }, ErrNotCARP},
		{"IPv6 longer than the frame", v6, func(b []byte) []byte { b[19]++; return b }, ErrHeader},
		{"IPv6, cut short", v6, func(b []byte) []byte { b[19]--; return b }, ErrSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := ParseFrame(tt.edit(bytes.Clone(tt.from)))
			if !errors.Is(err, tt.want) || f.Advert != (Advert{}) {
				t.Errorf("%+v, %v, want %v", f, err, tt.want)
			}
		})
	}
}

// The checks on receive, facts 1.3: what ucarp's packethandler and FreeBSD's carp_input_c look at.
func TestFilter(t *testing.T) {
	auth, self, peer := newAuth(t, "tpri", 42, "10.77.0.250"), netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")
	signed := Advert{VHID: 42, Base: 1, Skew: 100, Counter: 9}
	auth.Sign(&signed)
	multicast := Filter{VHID: 42, Auth: auth, Self: []netip.Addr{self}}
	unicast := Filter{VHID: 42, Auth: auth, Self: []netip.Addr{self}, Unicast: []netip.Addr{peer}}
	frame := func(dst netip.Addr, edit func(f *Frame)) []byte {
		f := NewFrame(signed, UCARPMAC(42), peer, dst)
		if edit != nil {
			edit(&f)
		}
		return f.Append(nil)
	}
	for _, tt := range []struct {
		name   string
		filter Filter
		frame  []byte
		want   string // good, ignored, or the reason
	}{
		{"what ucarp sent", multicast, unhex(t, captured), "good"},
		{"ours come back", multicast, frame(Group4, func(f *Frame) { f.Src = self }), "ignored"},
		{"another virtual host", multicast, frame(Group4, func(f *Frame) { f.Advert.VHID = 43 }), "ignored"},
		{"no CARP at all", multicast, make([]byte, 60), "ignored"},
		{"TTL 254", multicast, frame(Group4, func(f *Frame) { f.TTL = 254 }), "ttl"},
		{"to the node itself, in multicast mode", multicast, frame(self, nil), "target"},
		{"hop limit 254", multicast, frame(Group6, func(f *Frame) { f.Src, f.TTL = netip.MustParseAddr("fe80::2"), 254 }), "ttl"},
		{"IPv6", multicast, frame(Group6, func(f *Frame) { f.Src = netip.MustParseAddr("fe80::2") }), "good"},
		{"a changed counter", multicast, frame(Group4, func(f *Frame) { f.Advert.Counter++ }), "digest"},
		{"a changed digest", multicast, frame(Group4, func(f *Frame) { f.Advert.Digest[0]++ }), "digest"},
		{"a changed skew: the digest does not cover it", multicast, frame(Group4, func(f *Frame) { f.Advert.Skew = 0 }), "good"},
		{"VRRPv3", multicast, frame(Group4, nil)[:34], "malformed"},
		{"flipped on the way", multicast, func() []byte { b := frame(Group4, nil); b[69] ^= 1; return b }(), "checksum"},
		{"from the peer, any TTL", unicast, frame(self, func(f *Frame) { f.TTL = 64 }), "good"},
		{"to the group, in unicast mode", unicast, frame(Group4, nil), "target"},
		{"from somebody else, in unicast mode", unicast, frame(self, func(f *Frame) { f.Src = netip.MustParseAddr("10.77.0.3") }), "target"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := "ignored"
			switch in, _ := tt.filter.Input(tt.frame); in := in.(type) {
			case Received:
				got = "good"
			case Rejected:
				got = in.Reason.String()
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
