package notify

import (
	"crypto/tls"
	"crypto/x509"
)

// roots are the authorities that are believed; nil: the system's. Tests have one of their own.
var roots *x509.CertPool

func tlsFor(host string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: roots, MinVersion: tls.VersionTLS12}
}
