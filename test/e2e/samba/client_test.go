package samba

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// client is somebody in the office: he stores files and enters people, one after the other, and keeps a list of those that were acknowledged.
type client struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	last    map[string]time.Time     // acknowledgement, by service
	away    map[string]time.Duration // longest time between two
	files   map[string][sha256.Size]byte
	entries []string
}

func newClient(t *testing.T) *client {
	c := &client{t: t, dir: t.TempDir(), last: map[string]time.Time{}, away: map[string]time.Duration{}, files: map[string][sha256.Size]byte{}}
	for name, text := range map[string]string{"auth": "username = anne\npassword = " + password + "\n", "password": password} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// smb runs a command of smbclient's on the share.
func (c *client) smb(ctx context.Context, command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "smbclient", "-s", "/dev/null", "-A", filepath.Join(c.dir, "auth"), "-t", "2", "//"+address+"/admin", "-c", command)
	cmd.Dir = c.dir
	return cmd.CombinedOutput()
}

// ldap runs one of OpenLDAP's programs.
func (c *client) ldap(ctx context.Context, stdin string, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], append([]string{"-x", "-H", "ldap://" + address, "-D", "cn=admin," + suffix, "-y", filepath.Join(c.dir, "password"),
		"-o", "nettimeout=2"}, argv[1:]...)...)
	cmd.Stdin = strings.NewReader(stdin)
	return cmd.Output()
}

// store puts a file of its own on the share.
func (c *client) store(ctx context.Context, n int) bool {
	name := fmt.Sprintf("file-%d", n)
	text := make([]byte, 1+rand.IntN(16<<10))
	for i := range text {
		text[i] = byte(rand.Uint32())
	}
	if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
		return false
	}
	if _, err := c.smb(ctx, "put "+name); err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[name] = sha256.Sum256(text)
	return true
}

// enter makes an entry of the directory.
func (c *client) enter(ctx context.Context, n int) bool {
	name := fmt.Sprintf("person-%d", n)
	if _, err := c.ldap(ctx, fmt.Sprintf("dn: cn=%s,ou=people,%s\nobjectClass: organizationalRole\ncn: %[1]s\n", name, suffix), "ldapadd"); err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, name)
	return true
}

// work does both until the context ends; wait then waits for the last answers.
func (c *client) work(ctx context.Context) (wait func()) {
	var all sync.WaitGroup
	for service, act := range map[string]func(context.Context, int) bool{"samba": c.store, "ldap": c.enter} {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if act(context.WithoutCancel(ctx), n) {
					c.acknowledged(service)
					continue
				}
				time.Sleep(100 * time.Millisecond) // a refused connection is at once
			}
		})
	}
	return all.Wait
}

func (c *client) acknowledged(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if last, ok := c.last[service]; ok {
		c.away[service] = max(c.away[service], now.Sub(last))
	}
	c.last[service] = now
}

// afresh forgets how long anything was away.
func (c *client) afresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.away)
}

// served waits until both services have acknowledged something that was asked after now.
func (c *client) served(ctx context.Context, within time.Duration) {
	c.t.Helper()
	began := time.Now()
	end := began.Add(within)
	for done := false; !done; time.Sleep(100 * time.Millisecond) {
		c.mu.Lock()
		done = c.last["samba"].After(began) && c.last["ldap"].After(began)
		c.mu.Unlock()
		if !done && (time.Now().After(end) || ctx.Err() != nil) {
			c.t.Fatalf("not served within %v", within)
		}
	}
}

// looksAfter fails the test unless all that was acknowledged is there, as it was.
func (c *client) looksAfter(ctx context.Context) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := filepath.Join(c.dir, "got")
	if err := os.MkdirAll(got, 0o700); err != nil {
		c.t.Fatal(err)
	}
	if out, err := c.smb(ctx, "lcd got; prompt; mget file-*"); err != nil {
		c.t.Fatalf("read the share: %v: %s", err, out)
	}
	lost := 0
	for name, sum := range c.files {
		if text, err := os.ReadFile(filepath.Join(got, name)); err != nil || sha256.Sum256(text) != sum {
			lost++
		}
	}
	out, err := c.ldap(ctx, "", "ldapsearch", "-LLL", "-b", "ou=people,"+suffix, "(objectClass=organizationalRole)", "cn")
	if err != nil {
		c.t.Fatalf("read the directory: %v: %s", err, out)
	}
	there := "\n" + string(out)
	gone := 0
	for _, name := range c.entries {
		if !strings.Contains(there, "\ncn: "+name+"\n") {
			gone++
		}
	}
	c.t.Logf("%s acknowledged: %d files, %d lost; %d entries, %d lost; away: Samba %.1f s, LDAP %.1f s", time.Now().Format("15:04:05.0"), len(c.files), lost, len(c.entries), gone,
		c.away["samba"].Seconds(), c.away["ldap"].Seconds())
	if lost+gone > 0 || len(c.files) < 10 || len(c.entries) < 10 {
		c.t.Errorf("%d of %d files, %d of %d entries are lost", lost, len(c.files), gone, len(c.entries))
	}
	_ = os.RemoveAll(got)
}
