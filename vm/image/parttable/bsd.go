package parttable

import (
	"encoding/binary"
	"io"
)

// The BSD disklabel (FreeBSD sys/sys/disklabel.h, bsdlabel(5)): 148 bytes and 16 a partition, in the second sector of its slice.
const (
	labelMagic  = 0x82564557
	labelAt     = 512
	labelBytes  = 148
	labelEach   = 16
	rawPart     = 2 // "c": the whole of it
	bsdSwap     = 1
	bsdFFS      = 7
	bsdVinum    = 14
	bsdZFS      = 27
	labelSector = 40
)

var bsdTypes = map[byte]string{bsdSwap: "freebsd swap", bsdFFS: "freebsd ufs", bsdVinum: "freebsd vinum", bsdZFS: "freebsd zfs", 8: "msdos", 9: "4.4lfs", 17: "linux"}

// readLabel reads the label of a slice named prefix. relative: FreeBSD's, whose offsets count from that of "c"; the others' count from the
// beginning of the disk.
func readLabel(r io.ReaderAt, size int64, s slice, prefix string, relative bool) (parts []Partition, ok bool, err error) {
	if s.start > size {
		return nil, false, nil
	}
	b, err := readBlock(r, size, s.start+labelAt, sector)
	if err != nil || b == nil {
		return nil, false, err
	}
	le := binary.LittleEndian
	n := int(le.Uint16(b[138:]))
	if le.Uint32(b) != labelMagic || le.Uint32(b[132:]) != labelMagic || n == 0 || n > maxBSD || labelBytes+n*labelEach > len(b) {
		return nil, false, nil
	}
	var sum uint16
	for i := 0; i < labelBytes+n*labelEach; i += 2 {
		sum ^= le.Uint16(b[i:])
	}
	bytes := int64(le.Uint32(b[labelSector:]))
	if sum != 0 || bytes < sector || bytes > 4096 {
		return nil, false, nil
	}
	entry := func(i int) []byte { return b[labelBytes+i*labelEach:] }
	base, back := s.start, int64(0)
	switch {
	case !relative:
		base = 0
	case n > rawPart:
		back = int64(le.Uint32(entry(rawPart)[4:]))
	}
	for i := range n {
		e := entry(i)
		count, start, kind := int64(le.Uint32(e)), int64(le.Uint32(e[4:])), e[12]
		if i == rawPart || count == 0 || kind == 0 {
			continue
		}
		p := Partition{Name: prefix + string(rune('a'+i)), Type: bsdTypes[kind], Start: base + (start-back)*bytes, Size: count * bytes}
		if p.Type == "" {
			p.Type = "bsd"
		}
		if p.Start < s.start && relative {
			p.Start = -1
		}
		parts = append(parts, p)
	}
	return parts, true, nil
}
