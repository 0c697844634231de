package confsync

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A source that sends what no source has to: nothing of it comes into use here, and nothing is written beside the job's paths.
func TestOddTreesOfTheSource(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string // of the error; empty: it is copied
		also  func(t *testing.T, dir string)
	}{
		"a link where a file has to be": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/there/named.conf"), os.Symlink("/etc/shadow", dir+"/there/named.conf"))
		}, "named.conf is no regular file", nil},
		"a directory where a file has to be": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/there/named.conf"), os.MkdirAll(dir+"/there/named.conf/x", 0o755))
		}, "named.conf", nil},
		"a link in place of a directory with excluded files": {func(dir string) error {
			return errors.Join(os.RemoveAll(dir+"/there/zones/sub"), os.Mkdir(dir+"/elsewhere", 0o755), os.Symlink(dir+"/elsewhere", dir+"/there/zones/sub"),
				os.Mkdir(dir+"/here/zones/sub", 0o755), os.WriteFile(dir+"/here/zones/sub/b.jnl", []byte("of here\n"), 0o644))
		}, "sub", func(t *testing.T, dir string) {
			if all, err := os.ReadDir(dir + "/elsewhere"); err != nil || len(all) > 0 {
				t.Errorf("written elsewhere: %v, %v", all, err)
			}
		}},
		"programs that run as their owner": {func(dir string) error {
			return os.Chmod(dir+"/there/zones/a.zone", 0o755|fs.ModeSetuid|fs.ModeSetgid)
		}, "", func(t *testing.T, dir string) {
			if info, err := os.Stat(dir + "/here/zones/a.zone"); err != nil || info.Mode() != 0o755 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		}},
		"a pipe and a device": {func(dir string) error {
			return errors.Join(unix.Mkfifo(dir+"/there/zones/pipe", 0o644), unix.Mknod(dir+"/there/zones/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		}, "", func(t *testing.T, dir string) {
			for _, n := range []string{"pipe", "null"} {
				if inode(filepath.Join(dir, "here/zones", n)) != 0 {
					t.Errorf("%s came", n)
				}
			}
		}},
		"a name of two lines": {func(dir string) error { return os.WriteFile(dir+"/there/zones/two\nlines\x1b[2J", nil, 0o644) }, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir, e, job := site(t)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			_, err := e.Run(t.Context(), job, false)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("says %v", err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "here/named.conf"))
			want := map[bool]string{false: "old conf\n", true: "new conf\n"}[c.want == ""]
			if err != nil || string(text) != want {
				t.Errorf("named.conf: %q, %v", text, err)
			}
			if c.also != nil {
				c.also(t, dir)
			}
		})
	}
}
