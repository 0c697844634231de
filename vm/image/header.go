package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kvmctl/internal/units"
)

// The formats that guests of ours may have.
const (
	QCOW2 = "qcow2"
	Raw   = "raw"
)

// Header is what an image says of itself. Format is a name that `qemu-img -f` knows.
type Header struct {
	Format      string
	VirtualSize units.Size // as the guest sees it; 0 for a format that is only recognised

	ExternalData bool // the guest's data is in another file, whatever that is (qcow2, vmdk)

	// The rest is for qcow2.
	Version       int
	ClusterSize   units.Size
	Backing       string // as written: relative to the image's directory, absolute, or a URL; empty: none
	BackingFormat string // empty: not written, so whoever opens the backing file would have to guess
	Encrypted     bool
	Dirty         bool   // not closed in order: reference counts are repaired when it is next opened for writing
	Corrupt       bool   // QEMU found its metadata broken and opens it for reading only, until it is repaired
	DataFile      string // its name, if written
	Unknown       uint64 // incompatible features that this parser does not know: the image must not be opened
	Snapshots     int    // internal ones
}

// HeaderError says that an image has the magic number of its format and something impossible after it.
type HeaderError struct {
	Format string
	Reason string
}

func (e *HeaderError) Error() string { return "broken " + e.Format + " header: " + e.Reason }

// magics are the beginnings of formats that QEMU can read and our guests cannot have. A LUKS container is also what a guest
// may make of its own raw disk.
var magics = []struct {
	format string
	at     int64
	magic  string
}{
	{"qcow", 0, "QFI\xfb\x00\x00\x00\x01"},
	{"vmdk", 0, "KDMV"},
	{"vmdk", 0, "COWD"},
	{"vmdk", 0, "# Disk DescriptorFile"},
	{"vhdx", 0, "vhdxfile"},
	{"vpc", 0, "conectix"},
	{"qed", 0, "QED\x00"},
	{"luks", 0, "LUKS\xba\xbe"},
	{"parallels", 0, "WithoutFreeSpace"},
	{"parallels", 0, "WithouFreSpacExt"},
	{"vdi", 0x40, "\x7f\x10\xda\xbe"},
}

// ReadHeader reads the header of an image of size bytes. It reads no more than the first cluster of a qcow2 file, at most
// 2 MiB in parts that are bounded, and nothing of any other file. What no magic number claims is raw. The error is a
// *HeaderError or the reader's.
func ReadHeader(r io.ReaderAt, size int64) (Header, error) {
	if size < 0 {
		return Header{}, errors.New("read image header: negative size")
	}
	start := make([]byte, min(size, qcow2HeaderMax))
	if err := readAt(r, start, 0); err != nil {
		return Header{}, err
	}
	if bytes.HasPrefix(start, []byte(qcow2Magic)) && !bytes.HasPrefix(start, []byte(magics[0].magic)) {
		h, err := readQCOW2(r, start, size)
		if err != nil {
			return Header{}, err
		}
		return h, nil
	}
	for _, m := range magics {
		if int64(len(start)) > m.at && bytes.HasPrefix(start[m.at:], []byte(m.magic)) {
			h := Header{Format: m.format}
			// A VMDK whose descriptor names the files with the data: the text form, or a sparse header of capacity 0.
			h.ExternalData = m.magic == "# Disk DescriptorFile" ||
				m.magic == "KDMV" && (len(start) < 20 || binary.LittleEndian.Uint64(start[12:]) == 0)
			return h, nil
		}
	}
	return Header{Format: Raw, VirtualSize: units.Size(size)}, nil
}

func readAt(r io.ReaderAt, buf []byte, off int64) error {
	n, err := r.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // shorter than its size said: someone truncates it as we read
	}
	return fmt.Errorf("read image header: %w", err)
}
