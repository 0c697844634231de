package mountinfo_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/mountinfo"
)

func TestParse(t *testing.T) {
	const table = `36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
150 149 7:3 / /mnt ro shared:7 propagate_from:2 - ext4 /dev/loop3 ro
` + "151 149 0:31 / /a\u00a0b\v- rw unbindable - tmpfs  rw\n"
	got, err := mountinfo.Parse(strings.NewReader(table))
	want := []mountinfo.Entry{
		{ID: 36, Parent: 35, Major: 98, Root: "/mnt1", Point: "/mnt 2", Source: "/dev/root", Type: "ext3", Options: "rw,noatime",
			Master: 1, Super: "rw,errors=continue"},
		{ID: 150, Parent: 149, Major: 7, Minor: 3, Root: "/", Shared: 7, Master: 0, Point: "/mnt", Source: "/dev/loop3", Type: "ext4", Options: "ro", Super: "ro"},
		{ID: 151, Parent: 149, Minor: 31, Root: "/", Point: "/a\u00a0b\v-", Type: "tmpfs", Options: "rw", Super: "rw"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, line := range map[string]string{
		"no source":            "36 35 98:0 / /mnt rw",
		"no minor":             "36 35 98 / /mnt rw - ext3 /dev/root rw",
		"no number":            "x 35 98:0 / /mnt rw - ext3 /dev/root rw",
		"a number too large":   "36 35 98:4294967296 / /mnt rw - ext3 /dev/root rw",
		"a group of no number": "36 35 98:0 / /mnt rw shared: - ext3 /dev/root rw",
	} {
		_, err = mountinfo.Parse(strings.NewReader(line + "\n"))
		if want := fmt.Sprintf("read the mount table: %q", line); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestReadFindsTheRoot(t *testing.T) {
	table, err := mountinfo.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range table {
		if e.Point == "/" {
			return
		}
	}
	t.Errorf("no / among %d mounts", len(table))
}

func FuzzParse(f *testing.F) {
	if b, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		f.Add(string(b))
	}
	f.Add(`36 35 98:0 / /mnt\0402\ rw - ext3 \134 rw`)
	f.Add("36 35 98:0 / /mnt rw shared:1 master:2 unbindable - ext3 x rw")
	f.Fuzz(func(t *testing.T, s string) {
		table, err := mountinfo.Parse(strings.NewReader(s))
		if err == nil && len(table) > strings.Count(s, "\n")+1 {
			t.Errorf("%d mounts out of %q", len(table), s)
		}
	})
}
