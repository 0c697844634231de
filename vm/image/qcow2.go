package image

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	"kvmctl/internal/units"
)

// The qcow2 header, version 2 and 3 (QEMU, docs/interop/qcow2.txt: "Header", "Header extensions"). The bounds without a
// place in that text are those of QEMU 7.2's qcow2_do_open.
const (
	qcow2Magic     = "QFI\xfb"
	qcow2V2Header  = 72
	qcow2V3Header  = 104
	qcow2HeaderMax = 512  // we read so much at once: no header is longer than the smallest cluster
	qcow2NameMax   = 1023 // of a backing file
	qcow2FormatMax = 15   // of a backing format
	qcow2ExtMax    = 64   // extensions; QEMU writes at most five

	extEnd           = 0x00000000
	extBackingFormat = 0xe2792aca
	extDataFile      = 0x44415441

	incompatDirty, incompatCorrupt, incompatData, incompatCompression, incompatExtL2 = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
	incompatKnown                                                                    = incompatDirty | incompatCorrupt | incompatData | incompatCompression | incompatExtL2
)

func broken(format string, args ...any) error {
	return &HeaderError{QCOW2, fmt.Sprintf(format, args...)}
}

// readQCOW2 reads the image whose first bytes are b.
func readQCOW2(r io.ReaderAt, b []byte, size int64) (Header, error) {
	be := binary.BigEndian
	if len(b) < qcow2V2Header {
		return Header{}, broken("%d bytes, want %d", len(b), qcow2V2Header)
	}
	h := Header{Format: QCOW2, Version: int(be.Uint32(b[4:]))}
	length := uint32(qcow2V2Header)
	switch h.Version {
	case 2:
	case 3:
		if len(b) < qcow2V3Header {
			return Header{}, broken("%d bytes, want %d", len(b), qcow2V3Header)
		}
		if length = be.Uint32(b[100:]); length < qcow2V3Header {
			return Header{}, broken("header length %d, want at least %d", length, qcow2V3Header)
		}
		features := be.Uint64(b[72:])
		h.Dirty = features&incompatDirty != 0
		h.Corrupt = features&incompatCorrupt != 0
		h.ExternalData = features&incompatData != 0
		h.Unknown = features &^ uint64(incompatKnown)
	default:
		return Header{}, broken("version %d, want 2 or 3", uint32(h.Version))
	}
	bits := be.Uint32(b[20:])
	if bits < 9 || bits > 21 {
		return Header{}, broken("clusters of 2^%d bytes, want 9 to 21", bits)
	}
	h.ClusterSize = 1 << bits
	if uint64(length) > uint64(h.ClusterSize) {
		return Header{}, broken("header length %d in clusters of %d", length, int64(h.ClusterSize))
	}
	virtual := be.Uint64(b[24:])
	if virtual > math.MaxInt64 {
		return Header{}, broken("virtual size %d", virtual)
	}
	h.VirtualSize = units.Size(virtual)
	h.Encrypted = be.Uint32(b[32:]) != 0
	snapshots := be.Uint32(b[60:])
	if snapshots > 65536 { // QCOW_MAX_SNAPSHOTS
		return Header{}, broken("%d snapshots", snapshots)
	}
	h.Snapshots = int(snapshots)

	end := min(int64(h.ClusterSize), size) // of the extensions
	if off := be.Uint64(b[8:]); off != 0 {
		name, err := readBackingName(r, off, be.Uint32(b[16:]), end)
		if err != nil {
			return Header{}, err
		}
		h.Backing, end = name, int64(off)
	}
	return h, readExtensions(r, &h, int64(length), end)
}

// readBackingName reads n bytes at off. The name is in the first cluster, which ends at end.
func readBackingName(r io.ReaderAt, off uint64, n uint32, end int64) (string, error) {
	if n == 0 || n > qcow2NameMax {
		return "", broken("backing file name of %d bytes, want 1 to %d", n, qcow2NameMax)
	}
	if off < qcow2V2Header || off > uint64(end) || uint64(end)-off < uint64(n) {
		return "", broken("backing file name at %d: not behind the header in the first cluster", off)
	}
	name := make([]byte, n)
	if err := readAt(r, name, int64(off)); err != nil {
		return "", err
	}
	if strings.ContainsRune(string(name), 0) {
		return "", broken("backing file name with a NUL byte") // QEMU would open what stands before it
	}
	return string(name), nil
}

// readExtensions goes through the list from off to end: type, length, data padded to 8 bytes. Unknown ones may be passed over.
func readExtensions(r io.ReaderAt, h *Header, off, end int64) error {
	for range qcow2ExtMax {
		if end-off < 8 {
			return nil
		}
		var b [8]byte
		if err := readAt(r, b[:], off); err != nil {
			return err
		}
		off += 8
		kind, n := binary.BigEndian.Uint32(b[:]), int64(binary.BigEndian.Uint32(b[4:]))
		if kind == extEnd {
			return nil
		}
		if n > end-off {
			return broken("header extension %#x of %d bytes, outside the first cluster", kind, n)
		}
		switch kind {
		case extBackingFormat:
			if n > qcow2FormatMax {
				return broken("backing format of %d bytes, want at most %d", n, qcow2FormatMax)
			}
			name, err := readName(r, off, n)
			if err != nil {
				return err
			}
			h.BackingFormat = name
		case extDataFile:
			if n > qcow2NameMax {
				return broken("data file name of %d bytes, want at most %d", n, qcow2NameMax)
			}
			name, err := readName(r, off, n)
			if err != nil {
				return err
			}
			h.DataFile = name
		}
		off += (n + 7) &^ 7
	}
	return broken("more than %d header extensions", qcow2ExtMax)
}

func readName(r io.ReaderAt, off, n int64) (string, error) {
	b := make([]byte, n)
	if err := readAt(r, b, off); err != nil {
		return "", err
	}
	for _, c := range b {
		if c < ' ' || c == 0x7f {
			return "", broken("a name with the control character %#x", c)
		}
	}
	return string(b), nil
}
