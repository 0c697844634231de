package carp

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// MaxPassword is the longest key, in bytes: ucarp exits with "Password too long" at 20, and FreeBSD silently keeps 19.
const MaxPassword = 19

// What NewAuth refuses.
var (
	ErrPassword  = errors.New("a CARP password has 1 to 19 bytes, none of them zero")
	ErrAddresses = errors.New("CARP signs at least one address")
)

// Auth signs and verifies the adverts of one virtual host. It never prints its key.
type Auth struct {
	key    []byte
	signed []byte // what is signed, up to the counter
}

// NewAuth takes the key that all nodes share, and all addresses of the virtual host, in any order: they are signed as carp_hmac_prepare of
// FreeBSD and OpenBSD sorts them, IPv4 by value and then IPv6, each once, without prefix length or zone. ucarp signs exactly one IPv4 address.
func NewAuth(password string, vhid uint8, addrs []netip.Addr) (*Auth, error) {
	if password == "" || len(password) > MaxPassword || strings.ContainsRune(password, 0) {
		return nil, ErrPassword
	}
	if vhid == 0 {
		return nil, ErrVHID
	}
	var sorted []netip.Addr
	for _, a := range addrs {
		if !a.IsValid() {
			return nil, fmt.Errorf("%w: one is missing", ErrAddresses)
		}
		sorted = append(sorted, a.Unmap().WithZone(""))
	}
	if len(sorted) == 0 {
		return nil, ErrAddresses
	}
	slices.SortFunc(sorted, netip.Addr.Compare) // IPv4 before IPv6, each by value
	signed := []byte{version, typeAdvert, vhid}
	for _, a := range slices.Compact(sorted) {
		signed = append(signed, a.AsSlice()...)
	}
	return &Auth{[]byte(password), signed}, nil
}

// Sign fills in the advert's digest.
func (s *Auth) Sign(a *Advert) { a.Digest = s.digest(a.Counter) }

// Verify reports whether the advert's digest is that of its counter, in a time that tells nothing of where they differ.
func (s *Auth) Verify(a Advert) bool {
	want := s.digest(a.Counter)
	return hmac.Equal(want[:], a.Digest[:])
}

func (s *Auth) digest(counter uint64) (d [20]byte) {
	h := hmac.New(sha1.New, s.key)
	h.Write(s.signed)
	h.Write(binary.BigEndian.AppendUint64(nil, counter))
	h.Sum(d[:0])
	return d
}

// Format shows a word that stands for the key.
func (s *Auth) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }
