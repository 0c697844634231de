package parttable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
)

const (
	gptMagic    = "EFI PART"
	gptHeader   = 92
	gptEntry    = 128
	gptEntryMax = 4096
)

// gptTypes are the types that guests of ours have (UEFI 5.3.3; FreeBSD gpart(8); the Discoverable Partitions Specification).
var gptTypes = map[string]string{
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "efi system",
	"21686148-6449-6e6f-744e-656564454649": "bios boot",
	"0fc63daf-8483-4772-8e79-3d69d8477de4": "linux",
	"4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "linux root",
	"933ac7e1-2eb4-4f13-b844-0e14e2aef915": "linux home",
	"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "linux swap",
	"e6d6d379-f507-44c2-a23c-238f2a3df928": "linux lvm",
	"a19d880f-05fc-4d3b-a006-743f0f84911e": "linux raid",
	"ca7d7ccb-63ed-4c53-861c-1742536059cc": "linux luks",
	"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "windows data",
	"e3c9e316-0b5c-4db8-817d-f92df00215ae": "windows reserved",
	"de94bba4-06d1-4d40-a16a-bfd50179d6ac": "windows recovery",
	"83bd6b9d-7f41-11dc-be0b-001560b84f0f": "freebsd boot",
	"516e7cb4-6ecf-11d6-8ff8-00022d09712b": "freebsd",
	"516e7cb5-6ecf-11d6-8ff8-00022d09712b": "freebsd swap",
	"516e7cb6-6ecf-11d6-8ff8-00022d09712b": "freebsd ufs",
	"516e7cba-6ecf-11d6-8ff8-00022d09712b": "freebsd zfs",
}

// readGPT reads the table behind a protective MBR, or one that lost it. Nil: there is none.
func readGPT(r io.ReaderAt, size int64, claimed bool) (*Table, error) {
	var why []string
	for _, lba := range []int64{sector, 4096} { // the size of a sector, which is written nowhere
		t, reason, err := gptAt(r, size, lba, lba)
		if err != nil || t != nil {
			return t, err
		}
		if reason != "" {
			why = append(why, reason)
		}
	}
	if len(why) == 0 && !claimed {
		return nil, nil
	}
	for _, lba := range []int64{sector, 4096} {
		t, _, err := gptAt(r, size, size/lba*lba-lba, lba)
		if err != nil {
			return nil, err
		}
		if t != nil {
			t.Notes = append(t.Notes, "the first partition table is broken: the backup at the disk's end was read")
			return t, nil
		}
	}
	if !claimed {
		return nil, nil // a word that happens to stand there
	}
	if len(why) == 0 {
		why = []string{"neither it nor its backup is there"}
	}
	return nil, &BrokenError{GPT, strings.Join(why, "; ")}
}

// gptAt reads the header at off. No table and no reason: nothing there calls itself one.
func gptAt(r io.ReaderAt, size, off, lba int64) (t *Table, reason string, err error) {
	h, err := readBlock(r, size, off, sector)
	if err != nil || h == nil || !bytes.HasPrefix(h, []byte(gptMagic)) {
		return nil, "", err
	}
	le := binary.LittleEndian
	length := le.Uint32(h[12:])
	if length < gptHeader || length > sector {
		return nil, fmt.Sprintf("header of %d bytes", length), nil
	}
	sum := le.Uint32(h[16:])
	copy(h[16:20], []byte{0, 0, 0, 0})
	if crc32.ChecksumIEEE(h[:length]) != sum {
		return nil, "checksum of the header", nil
	}
	count, each := le.Uint32(h[80:]), le.Uint32(h[84:])
	if count == 0 || count > maxEntries || each < gptEntry || each > gptEntryMax || each%8 != 0 {
		return nil, fmt.Sprintf("%d entries of %d bytes", count, each), nil
	}
	at := le.Uint64(h[72:])
	if at > uint64(size/lba) {
		return nil, "entries outside of the disk", nil
	}
	b, err := readBlock(r, size, int64(at)*lba, int64(count)*int64(each))
	if err != nil || b == nil {
		return nil, "entries outside of the disk", err
	}
	if crc32.ChecksumIEEE(b) != le.Uint32(h[88:]) {
		return nil, "checksum of the entries", nil
	}
	t = &Table{Scheme: GPT}
	for i := range int(count) {
		if p, ok := gptPartition(b[i*int(each):], lba); ok {
			p.Name = strconv.Itoa(i + 1)
			t.Partitions = append(t.Partitions, p)
		}
	}
	return t, "", nil
}

func gptPartition(e []byte, lba int64) (Partition, bool) {
	le := binary.LittleEndian
	guid := fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(e), le.Uint16(e[4:]), le.Uint16(e[6:]), e[8:10], e[10:16])
	if guid == "00000000-0000-0000-0000-000000000000" {
		return Partition{}, false
	}
	p := Partition{Type: guid}
	if name, ok := gptTypes[guid]; ok {
		p.Type = name
	}
	const most = 1 << 50 // sectors; more would overflow below
	first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
	if first > last || last > most {
		p.Start, p.Size = -1, 0 // read as "outside of the disk"
		return p, true
	}
	p.Start, p.Size = int64(first)*lba, int64(last-first+1)*lba
	return p, true
}
