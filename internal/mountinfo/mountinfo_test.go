package mountinfo_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/mountinfo"
)

func TestParse(t *testing.T) {
	const table = `36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
150 149 7:3 / /mnt ro shared:7 propagate_from:2 - ext4 /dev/loop3 ro
`
	got, err := mountinfo.Parse(strings.NewReader(table))
	want := []mountinfo.Entry{
		{Point: "/mnt 2", Source: "/dev/root", Type: "ext3", Options: "rw,noatime", Super: "rw,errors=continue"},
		{Point: "/mnt", Source: "/dev/loop3", Type: "ext4", Options: "ro", Super: "ro"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = mountinfo.Parse(strings.NewReader("36 35 98:0 / /mnt rw\n"))
	if err == nil || err.Error() != `read the mount table: "36 35 98:0 / /mnt rw"` {
		t.Errorf("a line without a source: %v", err)
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
	f.Fuzz(func(t *testing.T, s string) {
		table, err := mountinfo.Parse(strings.NewReader(s))
		if err == nil && len(table) > strings.Count(s, "\n")+1 {
			t.Errorf("%d mounts out of %q", len(table), s)
		}
	})
}
