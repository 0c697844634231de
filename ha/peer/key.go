package peer

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// keyPrefix begins the text of a public key and names its form; secretPrefix does so for the file of an identity.
const (
	keyPrefix    = "kvmha1:"
	secretPrefix = "kvmha1-secret:"
)

// ErrBadKey says that a text is no key.
var ErrBadKey = errors.New("this is no key of kvmha's")

// PublicKey is what one node knows of another: by the first half it proves who it is, with the second one secrets are agreed on (RFC 8032, RFC 7748).
// The zero value is no key.
type PublicKey struct {
	Sign     [ed25519.PublicKeySize]byte
	Exchange [32]byte
}

// IsZero reports whether there is none.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String gives the one line that stands for the key; "" for none.
func (k PublicKey) String() string {
	if k.IsZero() {
		return ""
	}
	return keyPrefix + base64.RawStdEncoding.EncodeToString(k.bytes())
}

func (k PublicKey) bytes() []byte { return append(k.Sign[:], k.Exchange[:]...) }

// MarshalText does what String does.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText does what ParsePublicKey does; an empty text is no key.
func (k *PublicKey) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*k = PublicKey{}
		return nil
	}
	*k, err = ParsePublicKey(string(text))
	return err
}

// ParsePublicKey reads what PublicKey.String gives. A point of low order, with which everybody would agree on the same secret (RFC 7748 section 6.1),
// is refused. Every failure is ErrBadKey.
func ParsePublicKey(text string) (PublicKey, error) {
	body, ok := strings.CutPrefix(text, keyPrefix)
	if !ok || len(body) > 128 {
		return PublicKey{}, ErrBadKey
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != ed25519.PublicKeySize+32 || strings.ContainsAny(body, "\r\n") {
		return PublicKey{}, ErrBadKey
	}
	var k PublicKey
	copy(k.Sign[:], raw)
	copy(k.Exchange[:], raw[ed25519.PublicKeySize:])
	if !contributes(k.Exchange) {
		return PublicKey{}, ErrBadKey
	}
	return k, nil
}

// contributes reports whether an X25519 key gives a secret at all.
func contributes(public [32]byte) bool {
	probe, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		return false
	}
	point, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil {
		return false
	}
	_, err = probe.ECDH(point)
	return err == nil
}

// Identity is a node's own key. It never prints itself.
type Identity struct {
	sign     ed25519.PrivateKey
	exchange *ecdh.PrivateKey
	public   PublicKey
	cert     tls.Certificate
}

// newIdentity makes the identity of a seed.
func newIdentity(seed []byte) (*Identity, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, ErrBadKey
	}
	id := &Identity{sign: ed25519.NewKeyFromSeed(seed)}
	scalar, err := hkdf.Key(sha256.New, seed, nil, "kvmha identity x25519", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the exchange key: %w", err)
	}
	if id.exchange, err = ecdh.X25519().NewPrivateKey(scalar); err != nil {
		return nil, fmt.Errorf("derive the exchange key: %w", err)
	}
	copy(id.public.Sign[:], id.sign.Public().(ed25519.PublicKey))
	copy(id.public.Exchange[:], id.exchange.PublicKey().Bytes())
	if id.cert, err = certificate(id.sign); err != nil {
		return nil, err
	}
	return id, nil
}

// Public is what the other nodes may know.
func (id *Identity) Public() PublicKey { return id.public }

// String gives the public key, for every verb of fmt that asks.
func (id *Identity) String() string { return id.public.String() }

// GoString does for %#v what String does for %v.
func (id *Identity) GoString() string { return "peer.Identity{" + id.String() + "}" }

// MarshalText keeps encoders from looking inside.
func (id *Identity) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// Secret gives what this node and another one share: equal on both, another one for each purpose, the same after a boot. It is agreed on from the two
// static keys, so a wrong clock or a lost session does not touch it. With a key that ParsePublicKey would refuse it is a secret that nobody shares.
func (id *Identity) Secret(with PublicKey, purpose string) [32]byte {
	var out [32]byte
	point, err := ecdh.X25519().NewPublicKey(with.Exchange[:])
	if err == nil {
		var shared, key []byte
		if shared, err = id.exchange.ECDH(point); err == nil {
			a, b := id.public.bytes(), with.bytes()
			if bytes.Compare(a, b) > 0 {
				a, b = b, a
			}
			if key, err = hkdf.Key(sha256.New, shared, append(a, b...), "kvmha secret "+purpose, len(out)); err == nil {
				copy(out[:], key)
				return out
			}
		}
	}
	_, _ = rand.Read(out[:]) // it never fails (crypto/rand, since Go 1.24)
	return out
}
