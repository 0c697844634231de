package seed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// Label is the volume's name by which a guest finds its seed (cloud-init, NoCloud; nuageinit(7)).
const Label = "cidata"

// Seed is what a guest is told. UserData is needed.
type Seed struct {
	UserData      []byte
	MetaData      []byte
	NetworkConfig []byte
}

// headers are how user-data may begin (cloud-init, "User-data formats"): what begins otherwise is passed over without a word.
var headers = []string{"#cloud-config", "#cloud-config-archive", "#cloud-boothook", "#include", "#include-once", "#part-handler", "#!",
	"## template: jinja", "Content-Type: multipart/mixed"}

// maxData bounds each file, in bytes; cloud-init's own bound for user-data is lower on most clouds.
const maxData = 1 << 20

// HeaderError says that user-data does not begin in a way that a guest would read.
type HeaderError struct{ Line string }

func (e *HeaderError) Error() string {
	if e.Line == "" {
		return "user-data is empty"
	}
	return fmt.Sprintf("user-data begins with %.60q: a guest would pass it over without a word", e.Line)
}

// Hint is the usual beginning.
func (e *HeaderError) Hint() string { return "make its first line: #cloud-config" }

// Check refuses what no guest would read.
func (s *Seed) Check() error {
	for name, data := range s.files() {
		if len(data) > maxData {
			return fmt.Errorf("%s has %d bytes, and at most %d are read", name, len(data), maxData)
		}
		if bytes.IndexByte(data, 0) >= 0 {
			return fmt.Errorf("%s is not a text: it holds a zero byte", name)
		}
	}
	line, _, _ := strings.Cut(string(s.UserData[:min(len(s.UserData), 200)]), "\n")
	line = strings.TrimRight(line, "\r \t")
	for _, h := range headers {
		rest, ok := strings.CutPrefix(line, h)
		if ok && (rest == "" || h == "#!" || rest[0] == ' ' || rest[0] == ';') {
			return nil
		}
	}
	return &HeaderError{line}
}

func (s *Seed) files() map[string][]byte {
	files := map[string][]byte{"user-data": s.UserData, "meta-data": s.MetaData}
	if len(s.NetworkConfig) > 0 {
		files["network-config"] = s.NetworkConfig
	}
	return files
}

// DefaultMetaData names a guest. Its instance-id is made of what the seed says: cloud-init does its work again when that changes.
func DefaultMetaData(guest string, s *Seed) []byte {
	h := sha256.New()
	for _, data := range [][]byte{s.UserData, s.NetworkConfig} {
		fmt.Fprintf(h, "%d\n", len(data))
		h.Write(data)
	}
	return fmt.Appendf(nil, "instance-id: %s-%s\nlocal-hostname: %s\n", guest, hex.EncodeToString(h.Sum(nil))[:12], guest)
}

// madeAt is the time of all files in a seed: the same seed is the same bytes, as far as the library has it.
var madeAt = time.Unix(0, 0)

// Write makes the seed's ISO 9660 image, with Rock Ridge and Joliet names, at path. It appears whole or not at all, and is root's alone: a
// seed holds passwords. What a killed Write left beside it, the next clears away.
func Write(path string, s *Seed) (err error) {
	if err := s.Check(); err != nil {
		return err
	}
	work, tmp := path+".work", path+".new"
	for _, old := range []string{work, tmp} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	for name, data := range s.files() {
		at := filepath.Join(work, name)
		if err := os.WriteFile(at, data, 0o600); err != nil {
			return err
		}
		if err := os.Chtimes(at, madeAt, madeAt); err != nil {
			return err
		}
	}
	if err := os.Chtimes(work, madeAt, madeAt); err != nil {
		return err
	}
	if err := writeISO(tmp, work); err != nil {
		return errors.Join(fmt.Errorf("make %s: %w", path, err), remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, remove(tmp))
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeISO puts the files of a directory into a new image.
func writeISO(path, dir string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	iso, err := iso9660.Create(file.New(f, false), 0, 0, 2048, dir)
	if err != nil {
		return err
	}
	if err := iso.Finalize(iso9660.FinalizeOptions{RockRidge: true, Joliet: true, VolumeIdentifier: Label}); err != nil {
		return err
	}
	return f.Sync()
}
