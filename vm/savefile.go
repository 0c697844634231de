package vm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// A saved guest is one file: savedMagic, the header's length and CRC-32C (4 bytes each, big endian), the header as JSON; then, from
// savedStart on, what QEMU's migration wrote. The header is written last: a file without it was never finished.
const (
	savedMagic  = "KVMSAVE\x01"
	savedPrefix = len(savedMagic) + 8
	savedStart  = 256 << 10
)

const savedVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SavedHeader is what a saved guest has to find again when it is restored.
type SavedHeader struct {
	Version int         `json:"version"`
	Guest   string      `json:"guest"`
	Time    time.Time   `json:"time"`
	By      string      `json:"by"`
	QEMU    string      `json:"qemu"`
	Memory  units.Size  `json:"memory"`           // the guest was asked to have
	CPUs    int         `json:"cpus,omitempty"`   // 0: those of the command line
	Unseen  []string    `json:"unseen,omitempty"` // as in Record
	ABI     ABI         `json:"abi"`
	Argv    []string    `json:"argv"`
	Disks   []DiskState `json:"disks"`
	Size    int64       `json:"size"`   // of the stream, in bytes
	CRC     uint32      `json:"crc32c"` // of the stream
}

// NoSavedError says that a file is not a saved guest, or not a whole one.
type NoSavedError struct{ Path, Why string }

func (e *NoSavedError) Error() string { return e.Path + " is not a saved guest: " + e.Why }

// encodeSaved gives the first savedStart bytes of a file.
func encodeSaved(h *SavedHeader) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(text) > savedStart-savedPrefix {
		return nil, fmt.Errorf("the description of the guest has %d bytes, and a saved guest's has at most %d", len(text), savedStart-savedPrefix)
	}
	head := make([]byte, savedStart)
	at := copy(head, savedMagic)
	binary.BigEndian.PutUint32(head[at:], uint32(len(text)))
	binary.BigEndian.PutUint32(head[at+4:], crc32.Checksum(text, castagnoli))
	copy(head[savedPrefix:], text)
	return head, nil
}

// decodeSaved reads the first bytes of a saved guest's file, whose size is given.
func decodeSaved(head []byte, size int64) (*SavedHeader, error) {
	if len(head) < savedPrefix || string(head[:len(savedMagic)]) != savedMagic {
		return nil, errors.New("it does not begin like one")
	}
	n := int64(binary.BigEndian.Uint32(head[len(savedMagic):]))
	if n == 0 {
		return nil, errors.New("it was never finished")
	}
	if n > int64(len(head)-savedPrefix) {
		return nil, fmt.Errorf("its header claims %d bytes", n)
	}
	text := head[savedPrefix : int64(savedPrefix)+n]
	if crc32.Checksum(text, castagnoli) != binary.BigEndian.Uint32(head[len(savedMagic)+4:]) {
		return nil, errors.New("its header is damaged")
	}
	var h SavedHeader
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf("its header is damaged: %w", err)
	}
	switch {
	case h.Version != savedVersion:
		return nil, fmt.Errorf("version %d is not one that this kvmctl knows", h.Version)
	case h.Size <= 0 || h.Size != size-savedStart:
		return nil, fmt.Errorf("it has %d bytes of memory where its header says %d", max(0, size-savedStart), h.Size)
	}
	return &h, nil
}

// openSaved opens a saved guest's file and reads its header. It never waits for a FIFO's writer.
func openSaved(path string) (*os.File, *SavedHeader, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	h, err := readSaved(f)
	if err != nil {
		f.Close()
		return nil, nil, &NoSavedError{path, err.Error()}
	}
	return f, h, nil
}

func readSaved(f *os.File) (*SavedHeader, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	head := make([]byte, savedStart)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return decodeSaved(head[:n], st.Size())
}

// ReadSaved tells what a saved guest's file holds.
func ReadSaved(path string) (*SavedHeader, error) {
	f, h, err := openSaved(path)
	if err != nil {
		return nil, err
	}
	return h, f.Close()
}

// savedWriter takes the stream that becomes a saved guest.
type savedWriter struct {
	f    *os.File
	size int64
	crc  uint32
}

// newSavedWriter begins a file that is marked as unfinished.
func newSavedWriter(f *os.File) (*savedWriter, error) {
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	_, err := f.WriteAt([]byte(savedMagic), 0)
	return &savedWriter{f: f}, err
}

// pushEvery is how much is written before the kernel is told to begin with putting it on the disk, so that the last sync is short: the
// guest stands still meanwhile.
const pushEvery = 32 << 20

func (w *savedWriter) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, savedStart+w.size)
	w.crc = crc32.Update(w.crc, castagnoli, p[:n])
	before := w.size / pushEvery
	w.size += int64(n)
	if after := w.size / pushEvery; err == nil && after > before {
		_ = unix.SyncFileRange(int(w.f.Fd()), savedStart+before*pushEvery, (after-before)*pushEvery, unix.SYNC_FILE_RANGE_WRITE) // only sooner
	}
	return n, err
}

// finish writes the header and makes everything durable. It may be called again when more was written.
func (w *savedWriter) finish(h SavedHeader) error {
	h.Size, h.CRC = w.size, w.crc
	head, err := encodeSaved(&h)
	if err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil { // the stream before the header that vouches for it
		return err
	}
	if _, err := w.f.WriteAt(head, 0); err != nil {
		return err
	}
	return w.f.Sync()
}

// maxDescription bounds the description of devices at a stream's end, in bytes; real ones have some 50 KiB.
const maxDescription = 2 << 20

// ended tells whether a migration stream of QEMU's ends here: with a section that describes all devices, in JSON, behind
// QEMU_VM_VMDESCRIPTION and its length (migration/savevm.c, qemu_savevm_state_complete_precopy_non_iterable). It reads as little as that.
func (w *savedWriter) ended() bool {
	tail := make([]byte, min(w.size, maxDescription))
	if _, err := w.f.ReadAt(tail, savedStart+w.size-int64(len(tail))); err != nil {
		return false
	}
	return endsStream(tail)
}

func endsStream(tail []byte) bool {
	const vmDescription, header = 0x06, 5
	if !bytes.HasSuffix(tail, []byte("}")) {
		return false
	}
	for at := bytes.LastIndexByte(tail, vmDescription); at >= 0; at = bytes.LastIndexByte(tail[:at], vmDescription) {
		if at+header > len(tail) {
			continue
		}
		text := tail[at+header:]
		if int64(binary.BigEndian.Uint32(tail[at+1:])) == int64(len(text)) && json.Valid(text) {
			return true
		}
	}
	return false
}
