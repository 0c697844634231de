package parttable

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
)

// The MBR: four entries of 16 bytes at 446, 55 AA at 510. Types as fdisk(8) and FreeBSD's fdisk(8) name them.
const (
	mbrEntries   = 446
	typeGPT      = 0xee
	typeFreeBSD  = 0xa5
	typeOpenBSD  = 0xa6
	typeNetBSD   = 0xa9
	entrySize    = 16
	primarySlots = 4
)

var mbrTypes = map[byte]string{
	0x01: "fat12", 0x04: "fat16", 0x05: "extended", 0x06: "fat16", 0x07: "ntfs/exfat", 0x0b: "fat32", 0x0c: "fat32", 0x0e: "fat16",
	0x0f: "extended", 0x27: "windows recovery", 0x82: "linux swap", 0x83: "linux", 0x85: "extended", 0x8e: "linux lvm",
	typeFreeBSD: "freebsd", typeOpenBSD: "openbsd", typeNetBSD: "netbsd", 0xbf: "solaris", typeGPT: "gpt", 0xef: "efi system",
	0xfd: "linux raid",
}

type mbrEntry struct {
	kind         byte
	start, count int64 // sectors
}

func (e mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0f || e.kind == 0x85 }

func (e mbrEntry) name() string {
	if n, ok := mbrTypes[e.kind]; ok {
		return n
	}
	return fmt.Sprintf("0x%02x", e.kind)
}

// slice is a part of a disk, in bytes.
type slice struct{ start, size int64 }

// readMBR gives the entries of a sector that is a partition table: signed, with sane flags, and at least one entry that lies on the disk. The
// "dangerously dedicated" disk of FreeBSD has a sector with an entry that starts at 0: that is none.
func readMBR(b []byte, size int64) ([]mbrEntry, bool) {
	if len(b) != sector || b[510] != 0x55 || b[511] != 0xaa {
		return nil, false
	}
	entries := make([]mbrEntry, primarySlots)
	any := false
	for i := range entries {
		e := b[mbrEntries+i*entrySize:]
		if e[0]&0x7f != 0 {
			return nil, false
		}
		entries[i] = mbrEntry{e[4], int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))}
		if entries[i].kind == 0 || entries[i].count == 0 {
			continue
		}
		if entries[i].start == 0 {
			return nil, false
		}
		any = any || entries[i].start < size/sector
	}
	return entries, any
}

func protective(entries []mbrEntry) bool {
	for _, e := range entries {
		if e.kind == typeGPT {
			return true
		}
	}
	return false
}

// readSlices lists the partitions of an MBR: the primary ones, the logical ones, and those of BSD labels inside.
func readSlices(r io.ReaderAt, size int64, entries []mbrEntry) (Table, error) {
	t := Table{Scheme: MBR}
	extended := false
	for i, e := range entries {
		switch {
		case e.kind == 0 || e.count == 0:
		case e.extended() && !extended:
			extended = true // a second one is none of ours: Linux reads one (block/partitions/msdos.c)
			logical, note, err := readLogical(r, size, e.start)
			if err != nil {
				return Table{}, err
			}
			if note != "" {
				t.Notes = append(t.Notes, note)
			}
			t.Partitions = append(t.Partitions, logical...)
		case e.extended():
			t.Notes = append(t.Notes, "a second extended partition is left out")
		default:
			parts, err := readSlice(r, size, e, strconv.Itoa(i+1))
			if err != nil {
				return Table{}, err
			}
			t.Partitions = append(t.Partitions, parts...)
		}
	}
	return t, nil
}

// readSlice is one partition, or those of the BSD label inside.
func readSlice(r io.ReaderAt, size int64, e mbrEntry, name string) ([]Partition, error) {
	s := slice{e.start * sector, e.count * sector}
	if e.kind == typeFreeBSD || e.kind == typeOpenBSD || e.kind == typeNetBSD {
		parts, ok, err := readLabel(r, size, s, name, e.kind == typeFreeBSD)
		if err != nil || ok {
			return parts, err
		}
	}
	return []Partition{{Name: name, Type: e.name(), Start: s.start, Size: s.size}}, nil
}

// readLogical follows the chain of boot records in the extended partition that begins at the given sector. In each, entry 0 is a partition
// relative to the record, entry 1 the next record relative to the extended partition.
func readLogical(r io.ReaderAt, size, first int64) (parts []Partition, note string, err error) {
	seen := map[int64]bool{}
	for at := first; len(seen) < maxLogical; {
		if seen[at] {
			return parts, "the list of logical partitions leads back to itself", nil
		}
		seen[at] = true
		b, err := readBlock(r, size, at*sector, sector)
		if err != nil {
			return nil, "", err
		}
		if b == nil || b[510] != 0x55 || b[511] != 0xaa {
			return parts, "the list of logical partitions is cut off", nil
		}
		e := func(i int) mbrEntry {
			b := b[mbrEntries+i*entrySize:]
			return mbrEntry{b[4], int64(binary.LittleEndian.Uint32(b[8:])), int64(binary.LittleEndian.Uint32(b[12:]))}
		}
		if p := e(0); p.kind != 0 && p.count != 0 && !p.extended() {
			p.start += at
			more, err := readSlice(r, size, p, strconv.Itoa(len(seen)+primarySlots))
			if err != nil {
				return nil, "", err
			}
			parts = append(parts, more...)
		}
		next := e(1)
		if !next.extended() || next.count == 0 {
			return parts, "", nil
		}
		at = first + next.start
	}
	return parts, fmt.Sprintf("only the first %d logical partitions are listed", maxLogical), nil
}
