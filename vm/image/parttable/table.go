package parttable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Scheme is how a disk is divided.
type Scheme string

// The schemes.
const (
	GPT  Scheme = "gpt"  // UEFI specification, chapter 5
	MBR  Scheme = "mbr"  // with logical partitions in extended ones, and BSD labels inside slices
	BSD  Scheme = "bsd"  // a disklabel on the whole disk
	None Scheme = "none" // one file system, or nothing that we know
)

// Whole names the only "partition" of an undivided disk.
const Whole = "whole"

// Partition is a part of a disk that may hold a file system.
type Partition struct {
	Name    string // as Linux numbers them: "1", "5"; a partition of a BSD label has a letter too: "2a", "a"; or Whole
	Type    string // in words, or the code where we have no word for it
	Start   int64  // bytes from the disk's beginning
	Size    int64  // bytes
	FS      Filesystem
	Problem string // why it cannot be used: it reaches beyond the disk's end, …; empty: it can
}

// Table is what a disk is divided into.
type Table struct {
	Scheme     Scheme
	Partitions []Partition // in the order of the table
	Notes      []string    // what the admin should know: the first GPT is broken and the backup was read
}

// BrokenError says that a disk claims to have a table, and the table is impossible.
type BrokenError struct {
	Scheme Scheme
	Reason string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("broken %s partition table: %s", e.Scheme, e.Reason)
}

// Bounds of what is read. Real tables have at most 128 entries.
const (
	maxEntries = 256 // of a GPT
	maxLogical = 128 // partitions in an extended one
	maxBSD     = 22  // partitions of a label (BSD: MAXPARTITIONS is 8, 16 or 22)
	sector     = 512
)

// Read finds the partitions of a disk of size bytes, and what is in them. It reads some hundred KiB per partition at most. What nobody divided
// is one partition named Whole. The error is a *BrokenError or the reader's.
func Read(r io.ReaderAt, size int64) (Table, error) {
	if size < 0 {
		return Table{}, errors.New("read partitions: negative size")
	}
	t, err := divide(r, size)
	if err != nil {
		return Table{}, err
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if p.Problem = problem(*p, size); p.Problem != "" {
			continue
		}
		if p.FS, err = Identify(io.NewSectionReader(r, p.Start, p.Size), p.Size); err != nil {
			return Table{}, fmt.Errorf("partition %s: %w", p.Name, err)
		}
	}
	return t, nil
}

// divide finds the table. The order matters: a GPT has an MBR before it, and the boot sector of a FAT or NTFS ends like an MBR.
func divide(r io.ReaderAt, size int64) (Table, error) {
	boot, err := readBlock(r, size, 0, sector)
	if err != nil {
		return Table{}, err
	}
	entries, isMBR := readMBR(boot, size)
	gpt, err := readGPT(r, size, isMBR && protective(entries))
	if err != nil {
		return Table{}, err
	}
	if gpt != nil {
		return *gpt, nil
	}
	whole := Table{Scheme: None, Partitions: []Partition{{Name: Whole, Size: size}}}
	if isMBR && !isVolume(boot) {
		return readSlices(r, size, entries)
	}
	parts, ok, err := readLabel(r, size, slice{0, size}, "", true)
	if err != nil {
		return Table{}, err
	}
	if ok {
		return Table{Scheme: BSD, Partitions: parts}, nil
	}
	return whole, nil
}

// isVolume tells the boot sector of a FAT, exFAT or NTFS, whose code may look like a table.
func isVolume(boot []byte) bool {
	return len(boot) == sector && (bytes.Equal(boot[3:11], []byte("NTFS    ")) || bytes.Equal(boot[3:11], []byte("EXFAT   ")) ||
		bytes.HasPrefix(boot[82:], []byte("FAT32   ")) || bytes.HasPrefix(boot[54:], []byte("FAT1")))
}

func problem(p Partition, size int64) string {
	switch {
	case p.Start < 0 || p.Size <= 0 || p.Start > size:
		return "lies outside of the disk"
	case p.Size > size-p.Start:
		return "reaches beyond the disk's end"
	}
	return ""
}

// readBlock reads n bytes at off; nil where the disk has none.
func readBlock(r io.ReaderAt, size, off, n int64) ([]byte, error) {
	if off < 0 || n <= 0 || off > size || n > size-off {
		return nil, nil
	}
	b := make([]byte, n)
	got, err := r.ReadAt(b, off)
	if got == len(b) {
		return b, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("read %d bytes at %d: %w", n, off, err)
}

// text is a name out of a fixed field: up to the first NUL, without blanks at its end, only what can be printed.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return printable(string(bytes.TrimRight(b, " ")))
}
