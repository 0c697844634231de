package mount

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
	"kvmctl/vm/image/parttable"
)

// how is a file system's way of being mounted: mount(2)'s arguments.
type how struct {
	fstype string
	flags  uintptr
	data   string
}

// kinds are the file systems that Linux can mount. What is there was written by a guest: nothing in it is a device, a program or privileged
// here, and nothing the guest wrote decides what the host does on an error (an ext4 may ask for a panic). Without --rw no journal is
// replayed, for that would write.
var kinds = map[string]struct {
	fstype, both, ro string
	noWrite          bool
	super            int64 // bytes: the only place where Linux looks for the superblock (fs/ufs/super.c); 0: any
}{
	"ext2":    {fstype: "ext4", both: "errors=remount-ro", ro: "noload"},
	"ext3":    {fstype: "ext4", both: "errors=remount-ro", ro: "noload"},
	"ext4":    {fstype: "ext4", both: "errors=remount-ro", ro: "noload"},
	"xfs":     {fstype: "xfs", both: "nouuid", ro: "norecovery"}, // nouuid: a copy of a mounted image has the same
	"btrfs":   {fstype: "btrfs", ro: "rescue=nologreplay"},
	"vfat":    {fstype: "vfat", both: "errors=remount-ro"},
	"exfat":   {fstype: "exfat", both: "errors=remount-ro"},
	"ntfs":    {fstype: "ntfs3"},
	"iso9660": {fstype: "iso9660", noWrite: true},
	"ufs1":    {fstype: "ufs", both: "ufstype=44bsd,onerror=umount", noWrite: true, super: 8 << 10},
	"ufs2":    {fstype: "ufs", both: "ufstype=ufs2,onerror=umount", noWrite: true, super: 64 << 10},
}

// plan decides how a partition is mounted.
func plan(p parttable.Partition, rw bool) (how, error) {
	k, known := kinds[p.FS.Kind]
	switch {
	case p.Problem != "":
		return how{}, &UnmountableError{Part: p.Name, Reason: p.Problem}
	case p.FS.Kind == "":
		return how{}, &UnmountableError{Part: p.Name, Reason: "no file system that kvmctl knows is in it"}
	case !known:
		return how{}, &UnmountableError{Part: p.Name, Reason: fmt.Sprintf("%s is no file system that could be mounted", p.FS.Kind)}
	case rw && k.noWrite:
		return how{}, &ReadOnlyError{Part: p.Name, FS: p.FS.Kind}
	case k.super != 0 && k.super != p.FS.Super:
		return how{}, &UnmountableError{Part: p.Name, Reason: fmt.Sprintf("the superblock of this %s is at %v, and Linux looks for it only at %v",
			strings.ToUpper(p.FS.Kind), units.Size(p.FS.Super), units.Size(k.super))}
	}
	h := how{fstype: k.fstype, flags: unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC}
	var words []string
	if k.both != "" {
		words = append(words, k.both)
	}
	if !rw {
		h.flags |= unix.MS_RDONLY
		if k.ro != "" {
			words = append(words, k.ro)
		}
	}
	h.data = strings.Join(words, ",")
	return h, nil
}

// choose finds the partition to mount: the one that is named, or the only one that can be.
func choose(t parttable.Table, name string, rw bool) (parttable.Partition, error) {
	var can []parttable.Partition
	for _, p := range t.Partitions {
		if p.Name == name {
			return p, nil
		}
		if _, err := plan(p, false); err == nil {
			can = append(can, p)
		}
	}
	switch {
	case name != "":
		return parttable.Partition{}, &PartError{Want: name, Table: t}
	case len(can) == 1:
		return can[0], nil
	case len(can) == 0 && len(t.Partitions) == 1:
		return t.Partitions[0], nil // plan says why not
	}
	return parttable.Partition{}, &PartError{Table: t, Can: can}
}
