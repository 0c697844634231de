package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// ErrStranger says that the other side has a key that is not pinned here.
var ErrStranger = errors.New("its key is not one that this node was paired with")

// certificate wraps a key, because TLS carries keys in certificates. Nobody looks at its name or its times: the key alone counts.
func certificate(key ed25519.PrivateKey) (tls.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kvmha"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 section 4.1.2.5: no end
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// signer gives the key that the other side proved to have. The handshake has checked its signature (RFC 8446 section 4.4.3).
func signer(s tls.ConnectionState) ([ed25519.PublicKeySize]byte, bool) {
	var out [ed25519.PublicKeySize]byte
	if len(s.PeerCertificates) != 1 {
		return out, false
	}
	key, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != len(out) {
		return out, false
	}
	copy(out[:], key)
	return out, true
}

// config is what both sides have in common: TLS 1.3, no resumption, and accept decides on the key. The usual verification is off: it asks
// authorities, names and the clock, of which there is none, none and perhaps a wrong one.
func config(id *Identity, accept func([ed25519.PublicKeySize]byte) bool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{id.cert}, ClientAuth: tls.RequireAnyClientCert,
		InsecureSkipVerify: true, SessionTicketsDisabled: true, NextProtos: []string{"kvmha"},
		VerifyConnection: func(s tls.ConnectionState) error {
			if key, ok := signer(s); !ok || !accept(key) {
				return ErrStranger
			}
			return nil
		},
	}
}
