package carp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// captured is a frame of ucarp 1.5.2: key tpri, vhid 42, address 10.77.0.250, -b 1 -k 100, from 10.77.0.2.
const captured = "01005e00001200005e00002a08004510003841214000ff704fc30a4d0002e0000012" +
	"212a6407000187dd6d44c59eededa83b17d90f8c6abab6ec1ae4893f43bc4ebec78ae2ad"

var byAddress = cmpopts.EquateComparable(netip.Addr{})

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addrs(list ...string) (all []netip.Addr) {
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func newAuth(t testing.TB, password string, vhid uint8, list ...string) *Auth {
	t.Helper()
	a, err := NewAuth(password, vhid, addrs(list...))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTheFrameThatUCARPSentIsMadeAgainByteForByte(t *testing.T) {
	want := Frame{
		SrcMAC: UCARPMAC(42), DstMAC: GroupMAC(Group4), Src: netip.MustParseAddr("10.77.0.2"), Dst: Group4, TTL: 255, TOS: 0x10, ID: 0x4121,
		Advert: Advert{VHID: 42, Base: 1, Skew: 100, Counter: 0x6d44c59eededa83b},
	}
	newAuth(t, "tpri", 42, "10.77.0.250").Sign(&want.Advert)
	if d := hex.EncodeToString(want.Advert.Digest[:]); d != "17d90f8c6abab6ec1ae4893f43bc4ebec78ae2ad" {
		t.Errorf("digest %s", d)
	}
	got, err := ParseFrame(unhex(t, captured))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, byAddress); d != "" {
		t.Errorf("parsed frame (-want +got):\n%s", d)
	}
	built := NewFrame(want.Advert, UCARPMAC(42), want.Src, Group4)
	built.ID = 0x4121 // drawn at random
	if b := hex.EncodeToString(built.Append(nil)); b != captured {
		t.Errorf("built\n%s, want\n%s", b, captured)
	}
}

func TestDigestsFollowTheOrderingRule(t *testing.T) {
	// Computed with `openssl dgst -sha1 -hmac tpri` over 02 01 2a, the addresses in the order shown, and the counter 0000000000000001.
	sorted := []string{"9.0.0.1", "10.0.0.1", "200.0.0.1", "2001:db8::1", "fe80::1"}
	want := Advert{Counter: 1}
	newAuth(t, "tpri", 42, sorted...).Sign(&want)
	if got := hex.EncodeToString(want.Digest[:]); got != orderedDigest {
		t.Errorf("digest %s, want %s", got, orderedDigest)
	}
	for _, tt := range []struct {
		name  string
		addrs []string
	}{
		{"IPv4 ascending by value, then IPv6 by memcmp (carp_hmac_prepare)", []string{"fe80::1", "200.0.0.1", "2001:db8::1", "10.0.0.1", "9.0.0.1"}},
		{"the embedded scope is zeroed (carp_hmac_prepare)", []string{"9.0.0.1", "10.0.0.1", "200.0.0.1", "2001:db8::1", "fe80::1%eth0"}},
		{"each address once: the next one is looked for by > (carp_hmac_prepare)", append([]string{"10.0.0.1"}, sorted...)},
		{"an IPv4 address written as IPv6 is IPv4", []string{"::ffff:9.0.0.1", "10.0.0.1", "200.0.0.1", "2001:db8::1", "fe80::1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !newAuth(t, "tpri", 42, tt.addrs...).Verify(want) {
				t.Error("another digest")
			}
		})
	}
	for _, tt := range []struct {
		name string
		auth *Auth
	}{
		{"another password", newAuth(t, "tprj", 42, sorted...)},
		{"another virtual host", newAuth(t, "tpri", 43, sorted...)},
		{"an address less", newAuth(t, "tpri", 42, sorted[1:]...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.auth.Verify(want) {
				t.Error("the same digest")
			}
		})
	}
	want.Counter++
	if newAuth(t, "tpri", 42, sorted...).Verify(want) {
		t.Error("another counter has the same digest")
	}
}

func TestNewAuthRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, password string
		vhid           uint8
		addrs          []netip.Addr
		want           error
	}{
		{"no password", "", 1, addrs("10.0.0.1"), ErrPassword},
		{"20 bytes (ucarp: Password too long)", "12345678901234567890", 1, addrs("10.0.0.1"), ErrPassword},
		{"a zero byte, where C's strings end", "a\x00b", 1, addrs("10.0.0.1"), ErrPassword},
		{"virtual host 0", "tpri", 0, addrs("10.0.0.1"), ErrVHID},
		{"no address", "tpri", 1, nil, ErrAddresses},
		{"the zero address", "tpri", 1, []netip.Addr{{}}, ErrAddresses},
		{"19 bytes", "1234567890123456789", 1, addrs("10.0.0.1"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewAuth(tt.password, tt.vhid, tt.addrs); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestAuthNeverPrintsItsKey(t *testing.T) {
	a := newAuth(t, "tpri", 42, "10.77.0.250")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, a); got != "[secret]" {
			t.Errorf("%s: %s", verb, got)
		}
		if got := fmt.Sprintf(verb, Filter{Auth: a}); bytes.Contains([]byte(got), []byte("tpri")) {
			t.Errorf("%s in a Filter: %s", verb, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := unhex(t, captured)[34:]
	for _, tt := range []struct {
		name string
		edit func(b []byte) []byte
		want error
	}{
		{"35 bytes", func(b []byte) []byte { return b[:35] }, ErrSize},
		{"37 bytes", func(b []byte) []byte { return append(b, 0) }, ErrSize},
		{"nothing", func([]byte) []byte { return nil }, ErrSize},
		{"version 3, VRRPv3's", func(b []byte) []byte { b[0] = 0x31; return b }, ErrVersion},
		{"type 2", func(b []byte) []byte { b[0] = 0x22; return b }, ErrVersion},
		{"VRRPv2 with five addresses is as long and begins alike", func(b []byte) []byte { b[3] = 5; return b }, ErrAuthLen},
		{"virtual host 0", func(b []byte) []byte { b[1] = 0; return b }, ErrVHID},
		{"a flipped bit", func(b []byte) []byte { b[35] ^= 1; return b }, ErrChecksum},
		{"a changed skew", func(b []byte) []byte { b[2] = 0; return b }, ErrChecksum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := Parse(tt.edit(bytes.Clone(good)))
			if !errors.Is(err, tt.want) || a != (Advert{}) {
				t.Errorf("%+v, %v, want %v", a, err, tt.want)
			}
		})
	}
}

// Both zeros of one's complement make the sum right; only the one that senders write is read, so that Append makes the same bytes again.
func TestTheOtherZeroOfTheChecksum(t *testing.T) {
	a := Advert{VHID: 1, Base: 1}
	for n := 0; n <= 0xffff; n++ {
		a.Digest[18], a.Digest[19] = byte(n>>8), byte(n)
		b := a.Append(nil)
		if b[6] != 0 || b[7] != 0 {
			continue
		}
		if _, err := Parse(b); err != nil {
			t.Error(err)
		}
		b[6], b[7] = 0xff, 0xff
		if _, err := Parse(b); !errors.Is(err, ErrChecksum) {
			t.Errorf("%x: %v", b, err)
		}
		return
	}
	t.Error("no advert has the sum 0")
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, captured)[34:])
	f.Add(Advert{VHID: 1, Base: 255, Skew: 255}.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		switch {
		case err != nil && a != (Advert{}):
			t.Errorf("%v with %+v", err, a)
		case err == nil && !bytes.Equal(a.Append(nil), b):
			t.Errorf("%x is written as %x", b, a.Append(nil))
		}
	})
}

func FuzzParseFrame(f *testing.F) {
	f.Add(unhex(f, captured))
	f.Add(NewFrame(Advert{VHID: 7, Base: 1}, VirtualMAC(7), netip.MustParseAddr("fe80::7"), Group6).Append(nil))
	f.Add(unhex(f, captured)[:40])
	auth := newAuth(f, "tpri", 42, "10.77.0.250")
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseFrame(b)
		if err == nil {
			again, err := ParseFrame(got.Append(nil))
			if d := cmp.Diff(got, again, byAddress); err != nil || d != "" {
				t.Errorf("%x is read again as (%v)\n%s", b, err, d)
			}
		}
		filter := Filter{VHID: 42, Auth: auth}
		if in, ok := filter.Input(b); ok != (in != nil) {
			t.Errorf("%v, %v", in, ok)
		}
	})
}

const orderedDigest = "214a4c3fa74a209a40401d67db4f9a7caa0ed4d0"
