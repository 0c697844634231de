package check

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// samba is an smbd with the user root and the shares public (guests, too), staff and attic, which is in no list.
type samba struct {
	addr, dir, conf string
	process         *os.Process
}

// sambaConf writes what programs of Samba need to run in a directory of their own.
func sambaConf(t testing.TB, global string) (dir, conf string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // guests are nobody
		t.Fatal(err)
	}
	text := "[global]\nworkgroup = OFFICE\nnetbios name = OLORIN\nbind interfaces only = yes\ninterfaces = lo\nload printers = no\nprinting = bsd\ndisable spoolss = yes\nlog file = " + dir + "/log\n" + global
	for key, sub := range map[string]string{"private dir": "private", "lock directory": "lock", "state directory": "state", "cache directory": "cache", "pid directory": "pid", "ncalrpc dir": "ncalrpc"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("%s = %s\n", key, filepath.Join(dir, sub))
	}
	share := filepath.Join(dir, "share")
	for _, d := range []string{share, filepath.Join(share, "sub")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(share, "secret.txt"), "only root\n")
	if err := os.WriteFile(filepath.Join(share, "sub", "hello.txt"), bytes.Repeat([]byte("hello "), 10000), 0o644); err != nil {
		t.Fatal(err)
	}
	text += fmt.Sprintf("[public]\npath = %[1]s\nguest ok = yes\n[staff]\npath = %[1]s\n[attic]\npath = %[1]s\nbrowseable = no\n", share)
	return dir, write(t, filepath.Join(dir, "smb.conf"), text)
}

func smbd(t testing.TB, global string) samba {
	t.Helper()
	addr := freePort(t)
	_, port, _ := net.SplitHostPort(addr)
	dir, conf := sambaConf(t, "server role = standalone server\nsmb ports = "+port+"\n"+global)
	cmd := exec.Command("smbpasswd", "-c", conf, "-s", "-a", "root")
	cmd.Stdin = strings.NewReader("secret\nsecret\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("smbpasswd: %v: %s", err, out)
	}
	t.Cleanup(func() { // its helpers (samba-dcerpcd) have left its process group
		gone(t, "smbd", func(pid int) bool {
			argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			ours := bytes.Contains(argv, []byte(conf))
			if ours {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			return ours
		})
	})
	return samba{addr, dir, conf, serverOf(t, []string{"/usr/sbin/smbd", "-F", "--no-process-group", "-s", conf}, addr)}
}

func TestSMB(t *testing.T) {
	testenv.Need(t, testenv.Netns, "smbd", "smbpasswd")
	d := smbd(t, "map to guest = bad user\n")
	user := SMB{Address: d.addr, Session: SMBUser, User: "root", Password: word("secret")}
	guest, anonymous := SMB{Address: d.addr, Session: SMBGuest}, SMB{Address: d.addr, Session: SMBAnonymous}
	with := func(s SMB, change func(*SMB)) SMB { change(&s); return s }
	for _, tt := range []struct {
		name string
		spec SMB
		want string
	}{
		{"user", user, ""},
		{"domain and user", with(user, func(s *SMB) { s.User = `OFFICE\root` }), ""},
		{"guest", guest, ""},
		{"anonymous", anonymous, ""},
		{"share of a user", with(user, func(s *SMB) { s.Share = "staff" }), ""},
		{"file of a user", with(user, func(s *SMB) { s.Share, s.File = "Staff", "secret.txt" }), ""},
		{"hidden share", with(user, func(s *SMB) { s.Share, s.Hidden, s.File = "attic", true, `sub\hello.txt` }), ""},
		{"file of a guest", with(guest, func(s *SMB) { s.Share, s.File = "public", "sub/hello.txt" }), ""},
		{"file of nobody", with(anonymous, func(s *SMB) { s.Share, s.File = "public", "sub/hello.txt" }), ""},

		{"wrong password", with(user, func(s *SMB) { s.Password = word("guess") }), `^ADDR refuses the password of root$`},
		{"unknown user", with(user, func(s *SMB) { s.User = "anne" }), `^ADDR takes anne for a guest: user or password are wrong, and map to guest hides it$`},
		{"no such share", with(user, func(s *SMB) { s.Share = "void" }), `^ADDR does not list the share void$`},
		{"not listed", with(user, func(s *SMB) { s.Share = "attic" }), `^ADDR does not list the share attic$`},
		{"no such hidden share", with(user, func(s *SMB) { s.Share, s.Hidden = "void", true }), `^ADDR has no share void$`},
		{"not for guests", with(guest, func(s *SMB) { s.Share = "staff" }), `^ADDR does not let guests in: open a share$`},
		{"no such file", with(user, func(s *SMB) { s.Share, s.File = "staff", "void.txt" }), `^ADDR has no file void.txt in the share staff$`},
		{"no such directory", with(user, func(s *SMB) { s.Share, s.File = "staff", "void/void.txt" }), `^ADDR has no file void/void.txt in the share staff$`},
		{"not theirs", with(guest, func(s *SMB) { s.Share, s.File = "public", "secret.txt" }), `^ADDR does not let guests read secret.txt in the share public$`},
		{"a directory", with(user, func(s *SMB) { s.Share, s.File = "staff", "sub" }), `^(open|read) a file of ADDR: status 0xC00000(BA|10)$`},
		{"lets anybody list", with(user, func(s *SMB) { s.RefuseAnonymous = true }), `^ADDR lets people without a name list its shares: restrict anonymous = 2, map to guest = never$`},
		{"lets anybody in", with(user, func(s *SMB) { s.Share, s.RefuseAnonymous = "public", true }), `^ADDR lets people without a name into the share public: restrict anonymous = 2, map to guest = never$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, _ := once(t, tt.spec, long)
			says(t, tt.name, got, tt.want, d.addr)
		})
	}

	ask := with(user, func(s *SMB) { s.Share, s.File = "staff", "sub/hello.txt" })
	slow := user
	slow.Address = slowly(t, d.addr, time.Millisecond)
	got, _, _ := once(t, slow, 2*long)
	says(t, "slow", got, "", slow.Address)
	slow.Address = slowly(t, d.addr, 100*time.Millisecond)
	late(t, "too slow", slow, `^open a session at ADDR: no answer within TIME$`, slow.Address)

	freeze(t, d.process.Pid)
	late(t, "stopped", ask, `^open a session at ADDR: no answer within TIME$`, d.addr)
	if err := d.process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := once(t, ask, long); got != "" {
		t.Errorf("continued: %q", got)
	}
	if err := unix.Kill(-d.process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		got, _, _ := once(t, ask, long)
		return got
	}, d.addr+" refuses connections: nothing listens there")
}

// A server that is closed to strangers, and one that hides a wrong password.
func TestSMBAnonymousSurprises(t *testing.T) {
	testenv.Need(t, testenv.Netns, "smbd", "smbpasswd")
	closed := smbd(t, "restrict anonymous = 2\nmap to guest = never\n")
	ask := SMB{Address: closed.addr, Session: SMBUser, User: "root", Password: word("secret"), Share: "staff", RefuseAnonymous: true}
	if got, _, _ := once(t, ask, long); got != "" {
		t.Errorf("closed: %q", got)
	}
	got, _, _ := once(t, SMB{Address: closed.addr, Session: SMBGuest}, long)
	says(t, "guest", got, `^ADDR does not let guests in`, closed.addr)
	got, _, _ = once(t, SMB{Address: closed.addr, Session: SMBAnonymous, Share: "staff"}, long)
	says(t, "nobody", got, `^ADDR does not (let people without a name in|show its shares to people without a name)`, closed.addr)

	hides := smbd(t, "map to guest = bad password\n")
	got, _, _ = once(t, SMB{Address: hides.addr, Session: SMBUser, User: "root", Password: word("guess"), Share: "public"}, long)
	says(t, "hides", got, `^ADDR takes root for a guest: user or password are wrong, and map to guest hides it$`, hides.addr)
}

func TestSMBOfAStranger(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for server, want := range map[string]string{
		"garbage":   `^ADDR does not answer as SMB 2 or 3 does$`,
		"banner":    `^ADDR does not answer as SMB 2 or 3 does$|^open a session at ADDR: it closed the connection$`,
		"mute":      `^open a session at ADDR: (no answer within TIME|it closed the connection)$`,
		"close":     `^open a session at ADDR: it closed the connection$`,
		"half open": `^connect to ADDR: no answer within TIME$`,
	} {
		t.Run(server, func(t *testing.T) {
			stranger(t, server, func(addr string) Spec { return SMB{Address: addr, Session: SMBGuest} }, want)
		})
	}
}

func TestSMBValidate(t *testing.T) {
	for want, spec := range map[string]SMB{
		`address "olorin:445" is not ADDRESS:PORT with a literal address`: {Address: "olorin:445"},
		`session is "", not user, guest or anonymous`:                     {Address: "10.2.0.2:445"},
		`a session of a user needs user and password`:                     {Address: "10.2.0.2:445", Session: SMBUser, User: "anne"},
		`a session of type guest has neither user nor password`:           {Address: "10.2.0.2:445", Session: SMBGuest, User: "anne"},
		`share "a/b" is not a share's name alone`:                         {Address: "10.2.0.2:445", Session: SMBGuest, Share: "a/b"},
		`file and hidden need a share`:                                    {Address: "10.2.0.2:445", Session: SMBGuest, File: "a"},
		`file "/a" does not begin within the share`:                       {Address: "10.2.0.2:445", Session: SMBGuest, Share: "s", File: "/a"},
		`anonymous is refused, and is who asks`:                           {Address: "10.2.0.2:445", Session: SMBAnonymous, RefuseAnonymous: true},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := (SMB{Address: "[fd00:2::2]:445", Session: SMBGuest, Share: "public", File: "a/b"}).Validate(); err != nil {
		t.Error(err)
	}
}

// setUp is a frame of a SESSION_SETUP Response (MS-SMB2, 2.2.6).
func setUp(status uint32, flags uint16) []byte {
	f := make([]byte, 4+64+9)
	binary.BigEndian.PutUint32(f, uint32(len(f)-4))
	copy(f[4:], "\xfeSMB")
	binary.LittleEndian.PutUint32(f[smbStatus:], status)
	binary.LittleEndian.PutUint16(f[smbCommand:], smbSessionSetup)
	f[4+64] = 9
	binary.LittleEndian.PutUint16(f[smbSessionFlags:], flags)
	return f
}

func FuzzSMBFrames(f *testing.F) {
	f.Add(setUp(0, smbIsGuest), 7)
	f.Add(append(setUp(0xC0000016, 0), setUp(0, smbIsNull)...), 100)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff}, 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if len(b) == 0 {
			return
		}
		cut = 1 + int(uint(cut)%uint(len(b)))
		var whole, parts smbFrames
		err, err2 := whole.see(b), error(nil)
		for rest := b; len(rest) > 0 && err2 == nil; {
			n := min(cut, len(rest))
			err2 = parts.see(rest[:n])
			rest = rest[n:]
		}
		if (err == nil) != (err2 == nil) || whole.flags.Load() != parts.flags.Load() || whole.have > len(whole.head) {
			t.Errorf("at once %v, %d; by %d bytes %v, %d", err, whole.flags.Load(), cut, err2, parts.flags.Load())
		}
	})
}

func TestSMBFrames(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"a user", setUp(0, 0), false},
		{"a guest", setUp(0, smbIsGuest), true},
		{"nobody", setUp(0, smbIsNull), true},
		{"encrypted (SMB2_SESSION_FLAG_ENCRYPT_DATA)", setUp(0, 4), false},
		{"not set up yet (STATUS_MORE_PROCESSING_REQUIRED)", setUp(0xC0000016, smbIsGuest), false},
		{"the last one counts", append(setUp(0, smbIsGuest), setUp(0, 0)...), false},
	} {
		var f smbFrames
		if err := f.see(tt.b); err != nil || f.stranger() != tt.want {
			t.Errorf("%s: %v, %v", tt.name, f.stranger(), err)
		}
	}
	if err := new(smbFrames).see([]byte{0, 0xff, 0xff, 0xff}); err == nil {
		t.Error("a frame of 16 MiB is awaited")
	}
}

// FuzzSMBAnswers has a server answer with anything: the question ends, says one thing, and nothing of it stays.
func FuzzSMBAnswers(f *testing.F) {
	f.Add(setUp(0, 0))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte("\x00\x00\x00\x50\xfeSMB"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	f.Fuzz(func(t *testing.T, answer []byte) {
		served := make(chan struct{})
		go func() {
			defer close(served)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write(answer)
			_ = c.(*net.TCPConn).CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			_, _ = c.Read(make([]byte, 1<<10))
		}()
		_, _, _ = once(t, SMB{Address: l.Addr().String(), Session: SMBGuest, Share: "public"}, time.Minute)
		<-served
	})
}

func BenchmarkSMB(b *testing.B) {
	testenv.Need(b, testenv.Netns, "smbd", "smbpasswd")
	d := smbd(b, "map to guest = bad user\n")
	bench(b, SMB{Address: d.addr, Session: SMBUser, User: "root", Password: word("secret"), Share: "staff", File: "sub/hello.txt"})
}
