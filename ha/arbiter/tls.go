package arbiter

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"kvmctl/internal/smallfile"
)

// maxPEM bounds a file with certificates, in bytes.
const maxPEM = 1 << 20

// ErrNoCertificate says that a file holds no certificate.
var ErrNoCertificate = errors.New("no certificate in PEM")

// LoadTLS reads what an etcd with certificates asks for: the CA that signed its own, and the client's certificate and key. Empty names: the system's
// CAs, and no certificate.
func LoadTLS(ca, cert, key string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := smallfile.Read(ca, maxPEM)
		if err != nil {
			return nil, fmt.Errorf("read etcd's CA: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read etcd's CA %s: %w", ca, ErrNoCertificate)
		}
	}
	if cert == "" && key == "" {
		return t, nil
	}
	if info, err := os.Stat(key); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read the key for etcd %s: %w", key, ErrExposed)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for etcd: %w", err)
	}
	t.Certificates = []tls.Certificate{pair}
	return t, nil
}

// ErrExposed says that others than root could read or change a key.
var ErrExposed = errors.New("others than root can read or change it (chmod 600)")
