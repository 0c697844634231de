package parttable_test

import (
	"encoding/binary"
	"hash/crc32"
)

// disk is a disk in memory, made a field at a time.
type disk []byte

var le = binary.LittleEndian

// mbr writes an entry of the boot record in sector at: type, first sector and count, as they stand there.
func (d disk) mbr(at int64, i int, kind byte, start, count uint32) disk {
	b := d[at*512:]
	b[510], b[511] = 0x55, 0xaa
	e := b[446+16*i:]
	e[4] = kind
	le.PutUint32(e[8:], start)
	le.PutUint32(e[12:], count)
	return d
}

// gptPart is an entry: its type's first bytes as they stand on the disk, first and last sector.
type gptPart struct {
	guid        [16]byte
	first, last uint64
}

// linux is 0fc63daf-8483-4772-8e79-3d69d8477de4 as it stands on the disk.
var linux = [16]byte{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}

// gpt writes a header into the given sector, and 4 entries behind or, at the end of the disk, before it.
func (d disk) gpt(header, entries, lba int64, parts ...gptPart) disk {
	t := d[entries*lba : entries*lba+4*128]
	for i, p := range parts {
		e := t[i*128:]
		copy(e, p.guid[:])
		le.PutUint64(e[32:], p.first)
		le.PutUint64(e[40:], p.last)
	}
	h := d[header*lba:]
	copy(h, "EFI PART\x00\x00\x01\x00")
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[72:], uint64(entries))
	le.PutUint32(h[80:], 4)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(t))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	return d
}

// bsdPart is an entry of a disklabel, in sectors.
type bsdPart struct {
	size, offset uint32
	kind         byte
}

// label writes a BSD disklabel into the second sector of the slice that begins at the given sector.
func (d disk) label(slice int64, parts ...bsdPart) disk {
	b := d[(slice+1)*512:][:512]
	le.PutUint32(b, 0x82564557)
	le.PutUint32(b[132:], 0x82564557)
	le.PutUint32(b[40:], 512)
	le.PutUint16(b[138:], uint16(len(parts)))
	for i, p := range parts {
		e := b[148+16*i:]
		le.PutUint32(e, p.size)
		le.PutUint32(e[4:], p.offset)
		e[12] = p.kind
	}
	le.PutUint16(b[136:], 0)
	var sum uint16
	for i := 0; i < 148+16*len(parts); i += 2 {
		sum ^= le.Uint16(b[i:])
	}
	le.PutUint16(b[136:], sum)
	return d
}

// magic writes bytes anywhere.
func (d disk) magic(at int64, s string) disk {
	copy(d[at:], s)
	return d
}
