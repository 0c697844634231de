package confsync

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatBelongsToOneNodeIsFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bind/db.example.org": "$TTL 60\n@ IN SOA …", "bind/db.example.org.jnl": ";BIND LOG V9\n", "bind/sub/db.other.jnl": ";BIND LOG V9\n", "bind/rndc.key": "key",
		"bind/slave*": "\x00\x00\x00\x02\x00\x00\x00\x01\x60", "bind/dynamic": "$ORIGIN .\n$TTL 60\n", "bind/mine": "$ORIGIN example.org.\n", "bind/empty": "",
		"dhcp/dhcpd.conf": "", "dhcp/dhcpd.leases": "", "dhcp/dhcpd.leases~": "", "own/secrets.tdb": "", "own/passdb.tdb": "", "ssh/ssh_host_ed25519_key": "", "machine-id": "x",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir+"/bind/rndc.key", dir+"/dhcp/rndc.key"); err != nil { // a link has nothing in it
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		paths   []string
		exclude []string
		want    string
	}{
		{"zones", []string{"bind/"}, nil, "bind/db.example.org.jnl+1: *.jnl\nbind/dynamic+0: dynamic\nbind/rndc.key+0: rndc.key\nbind/slave*+0: slave\\*"},
		{"what was found is excluded", []string{"bind/"}, []string{"*.jnl", "dynamic", "rndc.key", `slave\*`}, ""},
		{"leases", []string{"dhcp/"}, nil, "dhcp/dhcpd.leases+1: dhcpd.leases*"},
		{"samba and ssh", []string{"own/", "ssh/"}, nil, "own/passdb.tdb+0: *.tdb\nown/secrets.tdb+0: secrets.tdb\nssh/ssh_host_ed25519_key+0: ssh_host_*_key*"},
		{"a path of its own", []string{"machine-id", "dhcp/dhcpd.conf"}, nil, "machine-id+0: "},
		{"nothing is there", []string{"nowhere/"}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			job := Job{Exclude: c.exclude}
			for _, p := range c.paths {
				job.Paths = append(job.Paths, dir+"/"+p)
			}
			var got []string
			for _, p := range LookPrivate(t.Context(), job) {
				got = append(got, fmt.Sprintf("%s+%d: %s", strings.TrimPrefix(p.Path, dir+"/"), p.More, p.Exclude))
			}
			is(t, "found", strings.Join(got, "\n"), c.want)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if all := LookPrivate(ctx, Job{Paths: []string{dir + "/bind/"}}); all != nil {
		t.Errorf("looks on: %v", all)
	}
}
