package vm

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// OpenSecretError says that others than root could read or change a secret.
type OpenSecretError struct {
	Path string
	What string // "belongs to uid 1000", "has mode 0644"
}

func (e *OpenSecretError) Error() string {
	return fmt.Sprintf("%s %s: a secret has to be root's, and nobody else's to read", e.Path, e.What)
}

// Hint closes it.
func (e *OpenSecretError) Hint() string {
	return fmt.Sprintf("chown root: %s; chmod 600 %s", e.Path, e.Path)
}

// Refused marks the error as a refusal for safety.
func (e *OpenSecretError) Refused() bool { return true }

// openSecret opens a secret of root's, without ever waiting for a FIFO's writer. A group of the admin's choice may read it.
func openSecret(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := checkSecret(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkSecret(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", f.Name())
	case !ok || sys.Uid != 0:
		return &OpenSecretError{f.Name(), fmt.Sprintf("belongs to uid %d", sys.Uid)}
	case st.Mode().Perm()&0o027 != 0:
		return &OpenSecretError{f.Name(), fmt.Sprintf("has mode %04o", st.Mode().Perm())}
	}
	return nil
}

// maxVNCPassword is what the protocol carries (RFC 6143, 7.2.2), in bytes: QEMU drops the rest without a word.
const maxVNCPassword = 8

// PasswordError is a file whose first line is no VNC password. It tells where, never what.
type PasswordError struct {
	Path   string
	Column int // in bytes from 1; 0: the file as a whole
	Why    string
}

func (e *PasswordError) Error() string {
	if e.Column == 0 {
		return e.Path + ": " + e.Why
	}
	return fmt.Sprintf("%s:1:%d: %s", e.Path, e.Column, e.Why)
}

// readPassword reads a VNC password from a file's first line.
func readPassword(path string) (string, error) {
	f, err := openSecret(path)
	if err != nil {
		return "", fmt.Errorf("read the VNC password: %w", err)
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the VNC password: %w", err)
	}
	password, err := parsePassword(path, strings.TrimRight(line, "\r\n"))
	if err != nil {
		return "", fmt.Errorf("read the VNC password: %w", err)
	}
	return password, nil
}

func parsePassword(path, line string) (string, error) {
	if line == "" {
		return "", &PasswordError{path, 0, "its first line is empty"}
	}
	if len(line) > maxVNCPassword {
		return "", &PasswordError{path, maxVNCPassword + 1, fmt.Sprintf("the password has %d bytes, and the VNC protocol drops all after the eighth", len(line))}
	}
	for i := range len(line) {
		if line[i] < ' ' {
			return "", &PasswordError{path, i + 1, "a control character in the password"}
		}
	}
	return line, nil
}

// The names that QEMU looks for in a directory of certificates (crypto/tlscredsx509.c), which are those of their descriptors, too.
var tlsFiles = []string{"ca-cert.pem", "server-cert.pem", "server-key.pem"}

const tlsKeyFile = "server-key.pem"

// maxPEM bounds a file of certificates, in bytes.
const maxPEM = 1 << 20

// openTLS hands QEMU its certificates. It opens them by name, with the rights of the guest's uid, and the key is root's alone: so each is
// copied to memory, and the directory that QEMU is given has nothing but links to its own descriptors. No copy of the key is ever on disk
// or in reach of another uid.
func (s *starting) openTLS() error {
	dir, pem := s.h.run(s.spec.Name, tlsDirName), map[string][]byte{}
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory of certificates: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // whatever the umask
		return fmt.Errorf("make the directory of certificates: %w", err)
	}
	for _, name := range tlsFiles {
		b, err := readPEM(filepath.Join(s.spec.VNC.TLS, name), name == tlsKeyFile)
		if err != nil {
			return fmt.Errorf("read the screen's certificates: %w", err)
		}
		pem[name] = b
		f, err := memfd(name, b)
		if err != nil {
			return err
		}
		s.files.byName[name] = f
		if err := errors.Join(f.Chmod(0o400), f.Chown(s.uid, s.uid)); err != nil {
			return fmt.Errorf("hand over %s: %w", name, err)
		}
		if err := os.Symlink(s.p.Wiring.procPath(name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("hand over %s: %w", name, err)
		}
	}
	return checkTLS(s.spec.VNC.TLS, pem, time.Now())
}

func readPEM(path string, secret bool) ([]byte, error) {
	open := func(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) }
	if secret {
		open = openSecret
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = errors.New("more than 1M, which no certificate has")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// CertificateError is a set of certificates that no viewer would take.
type CertificateError struct {
	Path string
	Err  error
}

func (e *CertificateError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *CertificateError) Unwrap() error { return e.Err }

// checkTLS finds out before QEMU does, and in better words, whether key, certificate and CA belong together.
func checkTLS(dir string, pem map[string][]byte, now time.Time) error {
	cert, key := filepath.Join(dir, "server-cert.pem"), filepath.Join(dir, tlsKeyFile)
	pair, err := tls.X509KeyPair(pem["server-cert.pem"], pem[tlsKeyFile])
	if err != nil {
		return &CertificateError{cert + " and " + key, err}
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem["ca-cert.pem"]) {
		return &CertificateError{filepath.Join(dir, "ca-cert.pem"), errors.New("no certificate in it")}
	}
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err == nil {
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	}
	if err != nil {
		return &CertificateError{cert, err}
	}
	return nil
}
