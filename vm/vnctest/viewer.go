package vnctest

import (
	"bytes"
	"crypto/des"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"net"
	"strings"
	"time"
)

// Security types of RFC 6143, 7.1.2, and of VeNCrypt (rfbproto.rst).
const (
	None     = 1
	VNC      = 2
	VeNCrypt = 19
	X509None = 260
	X509VNC  = 261
)

// Dial connects to a screen where kvmctl says that it is: address:port, unix:PATH or PATH. Nothing on the connection may take longer
// than patience.
func Dial(where string, patience time.Duration) (net.Conn, error) {
	network, at := "tcp", where
	if path := strings.TrimPrefix(where, "unix:"); strings.HasPrefix(path, "/") {
		network, at = "unix", path
	}
	conn, err := net.DialTimeout(network, at, patience)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Greet takes the protocol's version and chooses the one security type that the screen may offer (RFC 6143, 7.1.1 and 7.1.2).
func Greet(c io.ReadWriter, security byte) error {
	hello := make([]byte, 12)
	if _, err := io.ReadFull(c, hello); err != nil || string(hello) != "RFB 003.008\n" {
		return fmt.Errorf("the screen says %q (%v)", hello, err)
	}
	if _, err := c.Write(hello); err != nil {
		return err
	}
	n := make([]byte, 1)
	if _, err := io.ReadFull(c, n); err != nil {
		return fmt.Errorf("read the number of security types: %w", err)
	}
	types := make([]byte, n[0])
	if _, err := io.ReadFull(c, types); err != nil || !bytes.Equal(types, []byte{security}) {
		return fmt.Errorf("it offers the security types %v (%v), want only %d", types, err, security)
	}
	_, err := c.Write([]byte{security})
	return err
}

// LogIn answers the screen's challenge with a password and tells whether it lets in (RFC 6143, 7.2.2).
func LogIn(c io.ReadWriter, password string) (bool, error) {
	challenge := make([]byte, 16)
	if _, err := io.ReadFull(c, challenge); err != nil {
		return false, fmt.Errorf("read the challenge: %w", err)
	}
	key := make([]byte, 8)
	copy(key, password)
	for i := range key {
		key[i] = bits.Reverse8(key[i]) // the RFC does not say it; every implementation does
	}
	cipher, err := des.NewCipher(key)
	if err != nil {
		return false, err
	}
	cipher.Encrypt(challenge[:8], challenge[:8])
	cipher.Encrypt(challenge[8:], challenge[8:])
	if _, err := c.Write(challenge); err != nil {
		return false, err
	}
	return Result(c)
}

// Result reads whether the screen lets in (RFC 6143, 7.1.3).
func Result(c io.Reader) (bool, error) {
	var result uint32
	if err := binary.Read(c, binary.BigEndian, &result); err != nil {
		return false, fmt.Errorf("read the result: %w", err)
	}
	return result == 0, nil
}

// Encrypt does the handshake of a viewer that trusts roots, up to the encrypted channel on which sub goes on (rfbproto.rst, VeNCrypt).
func Encrypt(raw net.Conn, sub uint32, roots *x509.CertPool) (*tls.Conn, error) {
	if err := Greet(raw, VeNCrypt); err != nil {
		return nil, err
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(raw, buf[:2]); err != nil || buf[0] != 0 || buf[1] != 2 {
		return nil, fmt.Errorf("VeNCrypt version %v (%v)", buf[:2], err)
	}
	if _, err := raw.Write([]byte{0, 2}); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(raw, buf[:2]); err != nil || buf[0] != 0 || buf[1] != 1 {
		return nil, fmt.Errorf("it answers %v (%v), want one subtype", buf[:2], err)
	}
	if _, err := io.ReadFull(raw, buf); err != nil || binary.BigEndian.Uint32(buf) != sub {
		return nil, fmt.Errorf("it offers the subtype %d (%v), want %d", binary.BigEndian.Uint32(buf), err, sub)
	}
	if _, err := raw.Write(buf); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(raw, buf[:1]); err != nil || buf[0] != 1 {
		return nil, fmt.Errorf("it does not take the subtype: %v (%v)", buf[0], err)
	}
	c := tls.Client(raw, &tls.Config{RootCAs: roots, ServerName: ServerName})
	return c, c.Handshake()
}
