package arbiter

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// MaxPEM bounds a file with certificates or a key, in bytes.
const MaxPEM = 1 << 20

// What is wrong with such a file.
var (
	ErrNoCertificate = errors.New("no certificate in PEM")
	ErrExposed       = errors.New("others than root can read or change it (chmod 600)")
	ErrTooLarge      = errors.New("it is larger than 1 MiB")
	ErrNotRegular    = errors.New("no regular file")
)

// LoadTLS reads what an etcd with certificates asks for: the CA that signed its own, and the client's certificate and key. Empty names: the system's
// CAs, and no certificate. Certificate and key are read again for each connection, so that they can be renewed in place.
func LoadTLS(ca, cert, key string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, _, err := readPEM(ca)
		if err == nil {
			t.RootCAs, err = ParseCA(text)
		}
		if err != nil {
			return nil, fmt.Errorf("read etcd's CA %s: %w", ca, err)
		}
	}
	if cert == "" && key == "" {
		return t, nil
	}
	if _, err := loadPair(cert, key); err != nil {
		return nil, err
	}
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return loadPair(cert, key) }
	return t, nil
}

// ParseCA reads the certificates of CAs.
func ParseCA(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, ErrNoCertificate
	}
	return pool, nil
}

func loadPair(cert, key string) (*tls.Certificate, error) {
	certText, _, err := readPEM(cert)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for etcd %s: %w", cert, err)
	}
	keyText, mode, err := readPEM(key)
	if err == nil && mode&0o077 != 0 {
		err = ErrExposed
	}
	if err != nil {
		return nil, fmt.Errorf("read the key for etcd %s: %w", key, err)
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for etcd %s: %w", cert, err)
	}
	return &pair, nil
}

// readPEM reads a file, which may be behind a symbolic link as those of many a CA's program are; it waits for no FIFO.
func readPEM(path string) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, unnamed(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, unnamed(err)
	case !info.Mode().IsRegular():
		return nil, 0, ErrNotRegular
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxPEM+1))
	switch {
	case err != nil:
		return nil, 0, unnamed(err)
	case len(text) > MaxPEM:
		return nil, 0, ErrTooLarge
	}
	return text, info.Mode().Perm(), nil
}

// unnamed is an error without the path, which its reader has.
func unnamed(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}
