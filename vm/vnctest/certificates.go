package vnctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// ServerName is whose certificate Certificates makes.
const ServerName = "kvm1.example"

// CAFile is the name below dir by which a viewer finds whom to trust.
const CAFile = "ca-cert.pem"

// Certificates writes what `tls` under [vnc] wants into dir: a CA's certificate, a server's, and its key, which only root may read.
// until is when the server's ends.
func Certificates(dir string, until time.Time) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-48 * time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kvm1"}, DNSNames: []string{ServerName},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, ca, &serverKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o755),
		put(dir, CAFile, "CERTIFICATE", caDER, 0o644),
		put(dir, "server-cert.pem", "CERTIFICATE", serverDER, 0o644),
		put(dir, "server-key.pem", "PRIVATE KEY", keyDER, 0o600))
}

func put(dir, name, kind string, der []byte, mode fs.FileMode) error {
	path := filepath.Join(dir, name)
	return errors.Join(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode), os.Chmod(path, mode))
}

// Roots reads whom a viewer trusts from a directory of certificates.
func Roots(dir string) (*x509.CertPool, error) {
	b, err := os.ReadFile(filepath.Join(dir, CAFile))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("no certificate in %s", filepath.Join(dir, CAFile))
	}
	return pool, nil
}
