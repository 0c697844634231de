package parttable

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"unicode"
)

// Filesystem is what a partition holds.
type Filesystem struct {
	Kind  string // "ext4", "xfs", "btrfs", "ufs1", "ufs2", "vfat", "ntfs", "swap", "lvm", "luks", "zfs", …; empty: nothing that we know
	Label string // that its maker gave it; printable
	Super int64  // where the superblock of a UFS was found, bytes from the partition's beginning
	Dirty bool   // it was not unmounted, as far as it says so: its journal would be replayed (ext3, ext4)
}

// Identify tells by its magic numbers what is in a partition of size bytes. The error is the reader's.
func Identify(r io.ReaderAt, size int64) (Filesystem, error) {
	for _, try := range []func(*bytesAt) Filesystem{identLUKS, identLVM, identXFS, identBtrfs, identExt, identUFS, identSwap, identBoot,
		identISO, identZFS} {
		b := &bytesAt{r: r, size: size}
		f := try(b)
		if b.err != nil {
			return Filesystem{}, b.err
		}
		if f.Kind != "" {
			return f, nil
		}
	}
	return Filesystem{}, nil
}

// bytesAt reads pieces, and remembers the first error.
type bytesAt struct {
	r    io.ReaderAt
	size int64
	err  error
}

// at gives n bytes, or as many zeros where there are none.
func (b *bytesAt) at(off, n int64) []byte {
	if b.err == nil {
		got, err := readBlock(b.r, b.size, off, n)
		if got != nil {
			return got
		}
		b.err = err
	}
	return make([]byte, n)
}

func (b *bytesAt) is(off int64, magic string) bool {
	return bytes.Equal(b.at(off, int64(len(magic))), []byte(magic))
}

func identLUKS(b *bytesAt) Filesystem {
	if !b.is(0, "LUKS\xba\xbe") {
		return Filesystem{}
	}
	f := Filesystem{Kind: "luks"}
	if binary.BigEndian.Uint16(b.at(6, 2)) == 2 {
		f.Label = text(b.at(24, 48))
	}
	return f
}

// identLVM: a physical volume has its label in one of the first four sectors (LVM2, lib/label/label.h).
func identLVM(b *bytesAt) Filesystem {
	for s := int64(0); s < 4; s++ {
		if b.is(s*sector, "LABELONE") && b.is(s*sector+24, "LVM2 001") {
			return Filesystem{Kind: "lvm"}
		}
	}
	return Filesystem{}
}

func identXFS(b *bytesAt) Filesystem {
	if !b.is(0, "XFSB") {
		return Filesystem{}
	}
	return Filesystem{Kind: "xfs", Label: text(b.at(108, 12))}
}

func identBtrfs(b *bytesAt) Filesystem {
	const super = 64 << 10
	if !b.is(super+64, "_BHRfS_M") {
		return Filesystem{}
	}
	return Filesystem{Kind: "btrfs", Label: text(b.at(super+0x12b, 256))}
}

// identExt reads the superblock at 1024 (kernel Documentation/filesystems/ext4/super.rst).
func identExt(b *bytesAt) Filesystem {
	const (
		hasJournal, recover, journalDev = 0x4, 0x4, 0x8
		oldIncompat, oldROCompat        = 0x2 | 0x4 | 0x10, 0x7 // what ext3 knows
	)
	s := b.at(1024, 1024)
	le := binary.LittleEndian
	if le.Uint16(s[56:]) != 0xef53 {
		return Filesystem{}
	}
	compat, incompat, roCompat := le.Uint32(s[0x5c:]), le.Uint32(s[0x60:]), le.Uint32(s[0x64:])
	f := Filesystem{Kind: "ext2", Label: text(s[0x78:0x88]), Dirty: incompat&recover != 0}
	switch {
	case incompat&journalDev != 0:
		f.Kind = "ext journal"
	case incompat&^uint32(oldIncompat) != 0 || roCompat&^uint32(oldROCompat) != 0:
		f.Kind = "ext4"
	case compat&hasJournal != 0:
		f.Kind = "ext3"
	}
	return f
}

// identUFS looks at the three places that a superblock may have (FreeBSD sys/ufs/ffs/fs.h, SBLOCKSEARCH).
func identUFS(b *bytesAt) Filesystem {
	const magicAt, nameAt, nameBytes = 1372, 680, 32
	for _, off := range []int64{64 << 10, 8 << 10, 256 << 10} {
		m := b.at(off+magicAt, 4)
		for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			switch o.Uint32(m) {
			case 0x19540119:
				return Filesystem{Kind: "ufs2", Label: text(b.at(off+nameAt, nameBytes)), Super: off}
			case 0x00011954:
				return Filesystem{Kind: "ufs1", Label: text(b.at(off+nameAt, nameBytes)), Super: off}
			}
		}
	}
	return Filesystem{}
}

func identSwap(b *bytesAt) Filesystem {
	const page = 4096
	if !b.is(page-10, "SWAPSPACE2") && !b.is(page-10, "SWAP-SPACE") {
		return Filesystem{}
	}
	return Filesystem{Kind: "swap", Label: text(b.at(1024+28, 16))}
}

// identBoot knows the boot sectors of Microsoft's file systems.
func identBoot(b *bytesAt) Filesystem {
	s := b.at(0, sector)
	switch {
	case s[510] != 0x55 || s[511] != 0xaa:
		return Filesystem{}
	case bytes.Equal(s[3:11], []byte("NTFS    ")):
		return Filesystem{Kind: "ntfs"}
	case bytes.Equal(s[3:11], []byte("EXFAT   ")):
		return Filesystem{Kind: "exfat"}
	case bytes.Equal(s[82:90], []byte("FAT32   ")):
		return Filesystem{Kind: "vfat", Label: fatLabel(s[71:82])}
	case bytes.Equal(s[54:58], []byte("FAT1")):
		return Filesystem{Kind: "vfat", Label: fatLabel(s[43:54])}
	}
	return Filesystem{}
}

func fatLabel(b []byte) string {
	if l := text(b); l != "NO NAME" {
		return l
	}
	return ""
}

func identISO(b *bytesAt) Filesystem {
	const volume = 32 << 10
	if !b.is(volume+1, "CD001") {
		return Filesystem{}
	}
	return Filesystem{Kind: "iso9660", Label: text(b.at(volume+40, 32))}
}

// identZFS looks for an uberblock in the first two labels of a vdev (OpenZFS, include/sys/vdev_impl.h): a ring of 128 KiB in the second half
// of each 256 KiB.
func identZFS(b *bytesAt) Filesystem {
	const label, ring, step, magic = 256 << 10, 128 << 10, 1 << 10, 0x00bab10c
	for l := int64(0); l < 2; l++ {
		u := b.at(l*label+ring, ring)
		for off := 0; off < ring; off += step {
			if binary.LittleEndian.Uint64(u[off:]) == magic || binary.BigEndian.Uint64(u[off:]) == magic {
				return Filesystem{Kind: "zfs"}
			}
		}
	}
	return Filesystem{}
}

// printable makes a guest's text safe for a terminal and a table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
