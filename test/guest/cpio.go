package guest

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// File types of cpio's mode word (cpio(5), "new ASCII format").
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

// entry is one file of the archive; data is a symlink's target when mode says so.
type entry struct {
	name         string // relative, no leading slash
	mode         uint32
	data         []byte
	major, minor uint32 // of a device
}

// writeCPIO writes a newc archive. Owner, times and inode numbers are fixed, so that equal entries give equal bytes.
func writeCPIO(w io.Writer, entries []entry) error {
	b := bufio.NewWriter(w)
	for i, e := range entries {
		if e.name == "" || strings.HasPrefix(e.name, "/") || strings.ContainsRune(e.name, 0) {
			return fmt.Errorf("archive entry %d: bad name %q", i, e.name)
		}
		if uint64(len(e.data)) > 0xffffffff {
			return fmt.Errorf("archive %s: %d bytes do not fit into newc", e.name, len(e.data))
		}
		writeEntry(b, uint32(i+1), e)
	}
	writeEntry(b, 0, entry{name: "TRAILER!!!"})
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

func writeEntry(b *bufio.Writer, ino uint32, e entry) {
	links := uint32(1)
	if e.mode&0o170000 == typeDir {
		links = 2
	}
	b.WriteString("070701")
	for _, v := range []uint32{
		ino, e.mode, 0, 0, links, 0, uint32(len(e.data)), // ino mode uid gid nlink mtime filesize
		0, 0, e.major, e.minor, uint32(len(e.name) + 1), 0, // dev rdev namesize check
	} {
		fmt.Fprintf(b, "%08x", v)
	}
	b.WriteString(e.name)
	b.WriteByte(0)
	pad(b, 110+len(e.name)+1)
	b.Write(e.data)
	pad(b, len(e.data))
}

func pad(b *bufio.Writer, n int) {
	for ; n%4 != 0; n++ {
		b.WriteByte(0)
	}
}
