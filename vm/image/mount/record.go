package mount

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kvmctl/internal/atomicfile"
)

// Record is what a mount wrote down for the commands after it. It lies in a directory of its own, with the other things that the mount needs.
type Record struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Image   string    `json:"image"`
	Under   []string  `json:"under,omitempty"` // what it is based on
	Format  string    `json:"format"`
	RW      bool      `json:"rw"`
	Dir     string    `json:"dir,omitempty"` // empty: `image parts` was looking
	Part    string    `json:"part,omitempty"`
	FS      string    `json:"filesystem,omitempty"`
	UID     int       `json:"uid,omitempty"`  // of the daemon; 0: a raw image needs none
	NBD     bool      `json:"nbd,omitempty"`  // the daemon speaks NBD, and the kernel makes a block device of it that carries the mount's ID
	Loop    *int      `json:"loop,omitempty"` // number of the loop device; nil: there was none yet
	Ready   bool      `json:"ready"`          // the mount was finished
	Made    time.Time `json:"made"`
}

const (
	recordVersion = 1
	maxRecord     = 64 << 10
	maxRecords    = 1024
)

// The names in a mount's directory.
const (
	recordName = "mount.json"
	diskName   = "disk"   // where the daemon's view of the image is mounted: the disk as the guest sees it
	pidName    = "pid"    // locked by the daemon as long as it lives
	stderrName = "stderr" // the daemon's
)

func (m *Manager) path(id string, elem ...string) string {
	return filepath.Join(append([]string{m.Layout.MountsDir(), id}, elem...)...)
}

func (m *Manager) save(r *Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteVolatile(m.path(r.ID, recordName), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write down the mount: %w", err)
	}
	return nil
}

// parseRecord reads a record that goes by id.
func parseRecord(r io.Reader, id string) (*Record, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("larger than %d bytes", maxRecord)
	}
	var rec Record
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, err
	}
	switch {
	case rec.Version != recordVersion:
		return nil, fmt.Errorf("version %d is not one that this kvmctl knows", rec.Version)
	case rec.ID != id:
		return nil, fmt.Errorf("is of %q", rec.ID)
	case !filepath.IsAbs(rec.Image), rec.Dir != "" && !filepath.IsAbs(rec.Dir):
		return nil, errors.New("a path that is not absolute")
	case rec.UID < 0, rec.Loop != nil && (*rec.Loop < 0 || *rec.Loop > maxLoop):
		return nil, errors.New("a number out of range")
	}
	return &rec, nil
}

// validID keeps everything else that may lie there out of paths.
func validID(id string) bool {
	return len(id) == 8 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// records gives all mounts, the oldest first. A directory whose record was never written is one that was begun and not finished.
func (m *Manager) records() ([]*Record, error) {
	entries, err := os.ReadDir(m.Layout.MountsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Record
	for _, e := range entries {
		if !e.IsDir() || !validID(e.Name()) || len(all) >= maxRecords {
			continue
		}
		f, err := os.Open(m.path(e.Name(), recordName))
		if errors.Is(err, fs.ErrNotExist) {
			all = append(all, &Record{ID: e.Name()})
			continue
		}
		if err != nil {
			return nil, err
		}
		rec, err := parseRecord(f, e.Name())
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Name(), err)
		}
		all = append(all, rec)
	}
	slices.SortStableFunc(all, func(a, b *Record) int { return a.Made.Compare(b.Made) })
	return all, nil
}

// Has tells whether an image, or what it is based on, is the file at path.
func (r *Record) Has(path string) bool {
	return SameFile(r.Image, path) || slices.ContainsFunc(r.Under, func(p string) bool { return SameFile(p, path) })
}
