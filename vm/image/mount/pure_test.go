package mount

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/vm/image/parttable"
)

// TestPlan: whatever the guest wrote, nothing on the host is a device, a program or privileged by it, and no journal is replayed unasked.
func TestPlan(t *testing.T) {
	const always = unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	tests := []struct {
		kind   string
		super  int64
		rw     bool
		fstype string
		data   string
		err    string
	}{
		{"ext2", 0, false, "ext4", "errors=remount-ro,noload", ""},
		{"ext3", 0, false, "ext4", "errors=remount-ro,noload", ""},
		{"ext4", 0, false, "ext4", "errors=remount-ro,noload", ""},
		{"ext4", 0, true, "ext4", "errors=remount-ro", ""},
		{"xfs", 0, false, "xfs", "nouuid,norecovery", ""},
		{"xfs", 0, true, "xfs", "nouuid", ""},
		{"btrfs", 0, false, "btrfs", "rescue=nologreplay", ""},
		{"btrfs", 0, true, "btrfs", "", ""},
		{"vfat", 0, true, "vfat", "errors=remount-ro", ""},
		{"ntfs", 0, false, "ntfs3", "", ""},
		{"iso9660", 0, true, "", "", "partition 1 is iso9660, which cannot be written"},
		{"ufs1", 8192, false, "ufs", "ufstype=44bsd,onerror=umount", ""},
		{"ufs2", 65536, false, "ufs", "ufstype=ufs2,onerror=umount", ""},
		{"ufs2", 8192, false, "", "", "partition 1: the superblock of this UFS2 is at 8K, and Linux looks for it only at 64K"},
		{"ufs2", 65536, true, "", "", "partition 1 is UFS2, which Linux can only read"},
		{"swap", 0, false, "", "", "partition 1: swap is no file system that could be mounted"},
		{"luks", 0, true, "", "", "partition 1: luks is no file system that could be mounted"},
		{"", 0, false, "", "", "partition 1: no file system that kvmctl knows is in it"},
	}
	for _, tt := range tests {
		got, err := plan(parttable.Partition{Name: "1", FS: parttable.Filesystem{Kind: tt.kind, Super: tt.super}}, tt.rw)
		said := ""
		if err != nil {
			said = err.Error()
		}
		want := how{tt.fstype, always, tt.data}
		switch {
		case tt.err != "":
			want = how{}
		case !tt.rw:
			want.flags |= unix.MS_RDONLY
		}
		if got != want || said != tt.err {
			t.Errorf("%s, rw %v: %+v, %q; want %+v, %q", tt.kind, tt.rw, got, said, want, tt.err)
		}
	}
}

// FuzzParseRecord: a record that is read names only absolute paths and possible numbers.
func FuzzParseRecord(f *testing.F) {
	f.Add(`{"version":1,"id":"abcdefgh","image":"/srv/a.qcow2","format":"qcow2","rw":true,"dir":"/mnt","uid":70001,"loop":3,"ready":true}`)
	f.Add(`{"version":1,"id":"abcdefgh","image":"a","loop":-1}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRecord(strings.NewReader(s), "abcdefgh")
		if err != nil {
			if r != nil {
				t.Errorf("a record and %v", err)
			}
			return
		}
		if !filepath.IsAbs(r.Image) || r.Dir != "" && !filepath.IsAbs(r.Dir) || r.UID < 0 || r.Loop != nil && (*r.Loop < 0 || *r.Loop > maxLoop) {
			t.Errorf("%+v", r)
		}
	})
}
