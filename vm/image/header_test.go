package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

// qcow2 builds a version 3 header with 64 KiB clusters and 1 GiB, then changes it.
func qcow2(change func(b []byte)) []byte {
	b := make([]byte, 1024)
	copy(b, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 16)
	be.PutUint64(b[24:], 1<<30)
	be.PutUint32(b[96:], 4)
	be.PutUint32(b[100:], 112)
	change(b)
	return b
}

// extension writes one at off and gives the place of the next.
func extension(b []byte, off int, kind uint32, data string) int {
	binary.BigEndian.PutUint32(b[off:], kind)
	binary.BigEndian.PutUint32(b[off+4:], uint32(len(data)))
	copy(b[off+8:], data)
	return off + 8 + (len(data)+7)&^7
}

func backed(b []byte, name string, off uint64) {
	binary.BigEndian.PutUint64(b[8:], off)
	binary.BigEndian.PutUint32(b[16:], uint32(len(name)))
	if off < uint64(len(b)) {
		copy(b[off:], name)
	}
}

func TestReadHeader(t *testing.T) {
	be := binary.BigEndian
	v3 := Header{Format: QCOW2, VirtualSize: units.GiB, Version: 3, ClusterSize: 64 * units.KiB}
	with := func(change func(*Header)) Header { h := v3; change(&h); return h }
	tests := []struct {
		name string
		give []byte
		want Header
		err  string // of a *HeaderError
	}{
		{"empty", nil, Header{Format: Raw}, ""},
		{"three bytes of a magic number", []byte("QFI"), Header{Format: Raw, VirtualSize: 3}, ""},
		{"raw", make([]byte, 2048), Header{Format: Raw, VirtualSize: 2048}, ""},
		{"a boot sector", append(make([]byte, 510), 0x55, 0xaa), Header{Format: Raw, VirtualSize: 512}, ""},
		{"vmdk", append([]byte("KDMV\x01\x00\x00\x00\x03\x00\x00\x00\x01"), make([]byte, 99)...), Header{Format: "vmdk"}, ""},
		{"vmdk that names other files", append([]byte("KDMV\x01\x00\x00\x00\x03"), make([]byte, 99)...), Header{Format: "vmdk", ExternalData: true}, ""},
		{"vmdk, cut short", []byte("KDMV"), Header{Format: "vmdk", ExternalData: true}, ""},
		{"old vmdk", []byte("COWD"), Header{Format: "vmdk"}, ""},
		{"vmdk as text", []byte("# Disk DescriptorFile\nversion=1\n"), Header{Format: "vmdk", ExternalData: true}, ""},
		{"vdi", append(append([]byte("<<< Oracle VM VirtualBox Disk Image >>>\n"), make([]byte, 24)...), 0x7f, 0x10, 0xda, 0xbe), Header{Format: "vdi"}, ""},
		{"vhdx", []byte("vhdxfile"), Header{Format: "vhdx"}, ""},
		{"vpc", []byte("conectix"), Header{Format: "vpc"}, ""},
		{"qed", []byte("QED\x00"), Header{Format: "qed"}, ""},
		{"luks", []byte("LUKS\xba\xbe\x00\x02"), Header{Format: "luks"}, ""},
		{"parallels", []byte("WithoutFreeSpace"), Header{Format: "parallels"}, ""},
		{"qcow of the first version", []byte("QFI\xfb\x00\x00\x00\x01"), Header{Format: "qcow"}, ""},

		{"qcow2 version 3", qcow2(func(b []byte) {}), v3, ""},
		{"qcow2 version 2: no feature bits", qcow2(func(b []byte) { be.PutUint32(b[4:], 2); be.PutUint64(b[72:], 0) }),
			with(func(h *Header) { h.Version = 2 }), ""},
		{"version 2 has its extensions at 72", qcow2(func(b []byte) {
			be.PutUint32(b[4:], 2)
			clear(b[72:])
			extension(b, 72, extBackingFormat, "raw")
		}), with(func(h *Header) { h.Version, h.BackingFormat = 2, "raw" }), ""},
		{"dirty", qcow2(func(b []byte) { be.PutUint64(b[72:], 1) }), with(func(h *Header) { h.Dirty = true }), ""},
		{"corrupt", qcow2(func(b []byte) { be.PutUint64(b[72:], 2) }), with(func(h *Header) { h.Corrupt = true }), ""},
		{"external data", qcow2(func(b []byte) {
			be.PutUint64(b[72:], 4)
			extension(b, 112, extDataFile, "data.raw")
		}), with(func(h *Header) { h.ExternalData, h.DataFile = true, "data.raw" }), ""},
		{"zstd and extended L2 are known", qcow2(func(b []byte) { be.PutUint64(b[72:], 24) }), v3, ""},
		{"a feature of the future", qcow2(func(b []byte) { be.PutUint64(b[72:], 1<<5|1<<63) }),
			with(func(h *Header) { h.Unknown = 1<<5 | 1<<63 }), ""},
		{"encrypted", qcow2(func(b []byte) { be.PutUint32(b[32:], 2) }), with(func(h *Header) { h.Encrypted = true }), ""},
		{"snapshots", qcow2(func(b []byte) { be.PutUint32(b[60:], 3) }), with(func(h *Header) { h.Snapshots = 3 }), ""},
		{"backing file and format", qcow2(func(b []byte) {
			at := extension(b, 112, 0x6803f857, strings.Repeat("f", 90))
			extension(b, at, extBackingFormat, "qcow2")
			backed(b, "../base.qcow2", 512)
		}), with(func(h *Header) { h.Backing, h.BackingFormat = "../base.qcow2", "qcow2" }), ""},
		{"what follows the end of the extensions is not read", qcow2(func(b []byte) {
			at := extension(b, 112, extEnd, "")
			extension(b, at, extBackingFormat, "raw")
		}), v3, ""},
		{"extensions end where the backing name begins", qcow2(func(b []byte) { backed(b, "b", 112) }),
			with(func(h *Header) { h.Backing = "b" }), ""},

		{"cut after the magic number", []byte("QFI\xfb"), Header{}, "4 bytes, want 72"},
		{"version 3 cut at 72", qcow2(func(b []byte) {})[:80], Header{}, "80 bytes, want 104"},
		{"version 4", qcow2(func(b []byte) { be.PutUint32(b[4:], 4) }), Header{}, "version 4, want 2 or 3"},
		{"version of 32 bits", qcow2(func(b []byte) { be.PutUint32(b[4:], 1<<32-1) }), Header{}, "version 4294967295, want 2 or 3"},
		{"header too short", qcow2(func(b []byte) { be.PutUint32(b[100:], 103) }), Header{}, "header length 103, want at least 104"},
		{"header longer than a cluster", qcow2(func(b []byte) { be.PutUint32(b[100:], 65537) }), Header{}, "header length 65537 in clusters of 65536"},
		{"clusters of 256 bytes", qcow2(func(b []byte) { be.PutUint32(b[20:], 8) }), Header{}, "clusters of 2^8 bytes, want 9 to 21"},
		{"clusters of 4 MiB", qcow2(func(b []byte) { be.PutUint32(b[20:], 22) }), Header{}, "clusters of 2^22 bytes, want 9 to 21"},
		{"negative size", qcow2(func(b []byte) { b[24] = 0x80 }), Header{}, "virtual size 9223372037928517632"},
		{"too many snapshots", qcow2(func(b []byte) { be.PutUint32(b[60:], 65537) }), Header{}, "65537 snapshots"},
		{"empty backing name", qcow2(func(b []byte) { backed(b, "", 512) }), Header{}, "backing file name of 0 bytes, want 1 to 1023"},
		{"backing name of 1024 bytes", qcow2(func(b []byte) { backed(b, strings.Repeat("n", 1024), 512) }), Header{}, "backing file name of 1024 bytes, want 1 to 1023"},
		{"backing name over the end", qcow2(func(b []byte) { backed(b, "name", 1021) }), Header{}, "backing file name at 1021: not behind the header in the first cluster"},
		{"backing name nowhere", qcow2(func(b []byte) { backed(b, "name", 1<<63) }), Header{}, "backing file name at 9223372036854775808: not behind the header in the first cluster"},
		{"backing name inside the header", qcow2(func(b []byte) { backed(b, "name", 8); be.PutUint64(b[8:], 8) }), Header{}, "backing file name at 8: not behind the header in the first cluster"},
		{"backing name with NUL", qcow2(func(b []byte) { backed(b, "a\x00b", 512) }), Header{}, "backing file name with a NUL byte"},
		{"backing format of 16 bytes", qcow2(func(b []byte) { extension(b, 112, extBackingFormat, "0123456789abcdef") }), Header{}, "backing format of 16 bytes, want at most 15"},
		{"backing format with a newline", qcow2(func(b []byte) { extension(b, 112, extBackingFormat, "raw\n") }), Header{}, "a name with the control character 0xa"},
		{"extension over the end", qcow2(func(b []byte) { be.PutUint32(b[112:], 7); be.PutUint32(b[116:], 1<<31) }), Header{}, "header extension 0x7 of 2147483648 bytes, outside the first cluster"},
		{"endless extensions", qcow2(func(b []byte) {
			for off := 112; off < len(b); off += 8 {
				be.PutUint32(b[off:], 7)
			}
		}), Header{}, "more than 64 header extensions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadHeader(bytes.NewReader(tt.give), int64(len(tt.give)))
			var herr *HeaderError
			if tt.err != "" {
				if !errors.As(err, &herr) || herr.Reason != tt.err {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

// reads notes how far and how much is read.
type reads struct {
	r          *bytes.Reader
	end, total int64
}

func (r *reads) ReadAt(p []byte, off int64) (int, error) {
	r.end, r.total = max(r.end, off+int64(len(p))), r.total+int64(len(p))
	return r.r.ReadAt(p, off)
}

func FuzzReadHeader(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.head")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, s := range seeds {
		b, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(qcow2(func(b []byte) { backed(b, "base", 512); extension(b, 112, extBackingFormat, "raw") }))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &reads{r: bytes.NewReader(data)}
		h, err := ReadHeader(r, int64(len(data)))
		if r.end > int64(len(data)) || r.total > 4096 {
			t.Errorf("read up to %d of %d bytes, %d in all", r.end, len(data), r.total)
		}
		if err != nil {
			if h != (Header{}) {
				t.Errorf("error %v with a header: %+v", err, h)
			}
			return
		}
		switch {
		case h.Format == "" || h.VirtualSize < 0 || len(h.Backing) > 1023 || len(h.BackingFormat) > 15 || strings.ContainsRune(h.Backing, 0):
			t.Errorf("out of bounds: %+v", h)
		case h.Format == Raw && h != Header{Format: Raw, VirtualSize: units.Size(len(data))}:
			t.Errorf("raw with more than a size: %+v", h)
		case h.Format == QCOW2 && (h.Version < 2 || h.Version > 3 || h.ClusterSize < 512 || h.ClusterSize > 2*units.MiB):
			t.Errorf("impossible qcow2: %+v", h)
		}
	})
}
