package vm_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/vm"
	"kvmctl/vm/vmtest"
	"kvmctl/vm/vnctest"
)

// ownLoopback is an address that no other test's guests listen on.
func ownLoopback(last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 83, byte(os.Getpid()), last})
}

func listenAt(t *testing.T, addr netip.Addr, display int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(addr, uint16(5900+display)).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestADisplayIsFoundAgainAndOneThatIsTakenNamesItsHolder(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	at := ownLoopback(1)
	s := h.bare("vm-olorin")
	s.VNC = vm.VNC{Enabled: true, Auto: true, Listen: at}
	wantAt := func(display int) {
		t.Helper()
		want := netip.AddrPortFrom(at, uint16(5900+display)).String()
		if st := h.start(s); st.State.VNC != want || h.status(s.Name).VNC != want {
			t.Errorf("it took %s, and status says %s; want %s", st.State.VNC, h.status(s.Name).VNC, want)
		}
		h.stop(s, byForce)
	}
	zero, one := listenAt(t, at, 0), listenAt(t, at, 1)
	wantAt(2)
	zero.Close()
	one.Close()
	wantAt(2) // and not the first free one
	two := listenAt(t, at, 2)
	wantAt(3)
	two.Close()
	for _, wish := range []string{"-1\n", "x", "99999\n", strings.Repeat("1", 100)} {
		if err := os.WriteFile(h.VNCWish(s.Name), []byte(wish), 0o600); err != nil {
			t.Fatal(err)
		}
		wantAt(0)
	}

	s.VNC.Auto, s.VNC.Display = false, 4
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	const hint = "set another `display`, or \"auto\", under [vnc] in vm.toml"
	for _, holder := range []netip.Addr{at, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if !holder.Is4() || holder.IsUnspecified() { // of the whole machine: any display that is free
			s.VNC.Display = 9000 + os.Getpid()%20000
		}
		l := listenAt(t, holder, s.VNC.Display)
		err = h.wantFail(s, fmt.Sprintf("the VNC display at %v:%d is taken by %q (pid %d)", at, 5900+s.VNC.Display, strings.TrimSpace(string(comm)), os.Getpid()), hint)
		var taken *vm.DisplayTakenError
		if !errors.As(err, &taken) {
			t.Errorf("%T", err)
		}
		l.Close()
	}
	s.VNC.Display = 4
	h.start(s)
	other := h.bare("vm-varda")
	other.VNC = s.VNC
	if _, err := h.Start(h.within(), other); errText(err) != fmt.Sprintf("the VNC display at %v:5904 is taken by guest vm-olorin", at) {
		t.Errorf("beside another guest: %v", err)
	}
	h.stop(s, byForce)
}

// secretNowhere makes sure that a secret stands in no command line and in no file below the root but those that are named.
func secretNowhere(h site, secret []byte, but ...string) {
	h.t.Helper()
	p := vmtest.Owner(h.t, h.Host, "vm-olorin")
	if p == nil {
		h.t.Fatal("no QEMU")
	}
	defer p.Close()
	for _, f := range []string{"cmdline", "environ"} {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID, f)); err != nil || bytes.Contains(b, secret) {
			h.t.Errorf("QEMU's %s has the secret (%v)", f, err)
		}
	}
	err := filepath.WalkDir(h.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		for _, b := range but {
			if path == b {
				return nil
			}
		}
		if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, secret) {
			h.t.Errorf("%s has the secret (%v)", path, err)
		}
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
}

func TestAScreenOnASocketIsNobodyElses(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	password := filepath.Join(h.Root, "password")
	write(t, password, "top5ecre\n", 0o600)
	s.VNC = vm.VNC{Enabled: true, Auto: true, Socket: true, Listen: ownLoopback(2), PasswordFile: password}
	st := h.start(s)
	if want := "unix:" + h.VNCSocket(s.Name); st.State.VNC != want {
		t.Errorf("it is at %s, want %s", st.State.VNC, want)
	}
	secretNowhere(h, []byte("top5ecre"), password)
	dir := filepath.Dir(h.VNCSocket(s.Name))
	var own unix.Stat_t
	var fsys unix.Statfs_t
	if err := errors.Join(unix.Stat(dir, &own), unix.Statfs(dir, &fsys)); err != nil {
		t.Fatal(err)
	}
	if own.Mode&0o777 != 0o700 || int(own.Uid) != st.State.UID || fsys.Blocks*uint64(fsys.Bsize) > 4096 || fsys.Files > 4 {
		t.Errorf("mode %o of uid %d, %d blocks, %d files", own.Mode, own.Uid, fsys.Blocks, fsys.Files)
	}
	for try, want := range map[string]bool{"top5ecre": true, "top5ecrf": false} {
		conn, err := net.Dial("unix", h.VNCSocket(s.Name))
		if err != nil {
			t.Fatal(err)
		}
		if got := vncPassword(t, conn, vnctest.VNC, try); got != want {
			t.Errorf("the password %q: let in %t", try, got)
		}
		conn.Close()
	}
	h.stop(s, byForce)
	h.nothingLeft(s.Name)
	h.start(s)
	vmtest.Kill(t, h.Host, s.Name) // no chance to clean up
	h.status(s.Name)
	h.nothingLeft(s.Name)
}

// vncPassword logs in and tells whether it was let in; security 0: on a channel that has been greeted.
func vncPassword(t *testing.T, c io.ReadWriter, security byte, password string) bool {
	t.Helper()
	if security != 0 {
		if err := vnctest.Greet(c, security); err != nil {
			t.Fatal(err)
		}
	}
	in, err := vnctest.LogIn(c, password)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// certificates writes what `tls` wants into dir, and gives the CA.
func certificates(t *testing.T, dir string, until time.Time) *x509.CertPool {
	t.Helper()
	if err := vnctest.Certificates(dir, until); err != nil {
		t.Fatal(err)
	}
	roots, err := vnctest.Roots(dir)
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// veNCrypt does the handshake of a viewer up to the encrypted channel.
func veNCrypt(t *testing.T, addr string, sub uint32, roots *x509.CertPool) (*tls.Conn, error) {
	t.Helper()
	raw, err := vnctest.Dial(addr, vmtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return vnctest.Encrypt(raw, sub, roots)
}

func TestAScreenOverTLSWithAKeyThatOnlyRootMayRead(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	s := h.bare("vm-olorin")
	dir, password := filepath.Join(h.Root, "tls"), filepath.Join(h.Root, "password")
	write(t, password, "top5ecre", 0o600)
	roots := certificates(t, dir, time.Now().Add(time.Hour))
	if err := os.Chmod(dir, 0o700); err != nil { // the guest's uid cannot even look
		t.Fatal(err)
	}
	key := filepath.Join(dir, "server-key.pem")
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	s.VNC = vm.VNC{Enabled: true, Auto: true, Listen: ownLoopback(3), TLS: dir, PasswordFile: password}
	st := h.start(s)
	secretNowhere(h, secret[:100], key)
	secretNowhere(h, []byte("top5ecre"), password)
	c, err := veNCrypt(t, st.State.VNC, vnctest.X509VNC, roots)
	if err != nil {
		t.Fatal(err)
	}
	if !vncPassword(t, c, 0, "top5ecre") {
		t.Error("the password does not let in")
	}
	if c, err = veNCrypt(t, st.State.VNC, vnctest.X509VNC, roots); err != nil {
		t.Fatal(err)
	}
	if vncPassword(t, c, 0, "Top5ecre") {
		t.Error("another password lets in")
	}
	if _, err := veNCrypt(t, st.State.VNC, vnctest.X509VNC, x509.NewCertPool()); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("a viewer without the CA: %v", err)
	}
	h.stop(s, byForce)
	h.nothingLeft(s.Name)

	s.VNC.PasswordFile = ""
	st = h.start(s)
	if c, err = veNCrypt(t, st.State.VNC, vnctest.X509None, roots); err != nil {
		t.Errorf("TLS without a password: %v", err)
	} else if in, err := vnctest.Result(c); err != nil || !in {
		t.Errorf("TLS without a password: let in %t (%v)", in, err)
	}
	h.stop(s, byForce)

	cert := filepath.Join(dir, "server-cert.pem")
	write(t, key, string(secret), 0o644)
	h.wantFail(s, "read the screen's certificates: "+key+" has mode 0644: a secret has to be root's, and nobody else's to read", "chown root: "+key+"; chmod 600 "+key)
	certificates(t, dir, time.Now().Add(-time.Hour))
	if _, err := h.Start(h.within(), s); !errors.As(err, new(*vm.CertificateError)) || !strings.HasPrefix(err.Error(), cert+": x509: certificate has expired") {
		t.Errorf("an expired one: %v", err)
	}
	write(t, key, string(secret), 0o600)
	h.wantFail(s, cert+" and "+key+": tls: private key does not match public key", "")
	write(t, filepath.Join(dir, "ca-cert.pem"), "none", 0o644)
	certificates(t, filepath.Join(h.Root, "other"), time.Now().Add(time.Hour))
	if err := errors.Join(os.Rename(filepath.Join(h.Root, "other", "server-key.pem"), key), os.Rename(filepath.Join(h.Root, "other", "server-cert.pem"), cert)); err != nil {
		t.Fatal(err)
	}
	h.wantFail(s, filepath.Join(dir, "ca-cert.pem")+": no certificate in it", "")
	if err := os.Remove(filepath.Join(dir, "ca-cert.pem")); err != nil {
		t.Fatal(err)
	}
	h.wantFail(s, "read the screen's certificates: open "+filepath.Join(dir, "ca-cert.pem")+": no such file or directory", "")

	s.VNC.TLS, s.VNC.PasswordFile = "", password
	write(t, password, "top5ecret\n", 0o600)
	h.wantFail(s, "read the VNC password: "+password+":1:9: the password has 9 bytes, and the VNC protocol drops all after the eighth", "")
	write(t, password, "top5ecre\n", 0o604)
	h.wantFail(s, "read the VNC password: "+password+" has mode 0604: a secret has to be root's, and nobody else's to read", "chown root: "+password+"; chmod 600 "+password)
	write(t, password, "top5ecre\n", 0o600)
	if err := os.Chown(password, st.State.UID, 0); err != nil {
		t.Fatal(err)
	}
	h.wantFail(s, fmt.Sprintf("read the VNC password: %s belongs to uid %d: a secret has to be root's, and nobody else's to read", password, st.State.UID), "chown root: "+password+"; chmod 600 "+password)
}
