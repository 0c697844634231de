package salvage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// noteName is the file that makes images whole: it is written last.
const noteName = "kept.json"

// maxNote bounds a note, in bytes.
const maxNote = 64 << 10

// Kept is what was kept of one resource.
type Kept struct {
	ID       string    `json:"id"` // the directory's name: a time and the resource
	Resource string    `json:"resource"`
	Group    string    `json:"group"`
	Node     string    `json:"node"`     // whose data they are
	Survivor string    `json:"survivor"` // whose data have overwritten them
	At       time.Time `json:"at"`
	Changed  uint64    `json:"changed_kib"` // here, since the two had parted
	Where    string    `json:"where"`       // the directory of the images
	Images   []Image   `json:"images"`
}

// Image is a volume's disk, with DRBD's metadata where they lie at its end.
type Image struct {
	Volume int    `json:"volume"`
	Device string `json:"device"`
	File   string `json:"file"` // in Where
	Size   uint64 `json:"size"` // in bytes, as the device's
	Data   uint64 `json:"data"` // in bytes, without the metadata at the end; 0: not known
}

// Path is an image's file.
func (k Kept) Path(i Image) string { return filepath.Join(k.Where, i.File) }

var (
	// ErrNone says that nothing is kept by that name.
	ErrNone = errors.New("nothing is kept by that name")
	// ErrName says that a name is none of a Kept.
	ErrName = errors.New("it is a time and a resource, as the list has it")

	idPattern = regexp.MustCompile(`^\d{8}-\d{6}-[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$`)
)

// NewID names what is kept of a resource from now on.
func NewID(at time.Time, resource string) string {
	return at.Format("20060102-150405") + "-" + resource
}

// IsID reports whether a text, which may come from elsewhere, names a Kept. It names a directory, too.
func IsID(text string) bool { return idPattern.MatchString(text) }

// List gives what is kept below a directory, the oldest first. One that cannot be read is an error beside the others.
func List(dir string) (all []Kept, err error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what is kept: %w", err)
	}
	var errs []error
	for _, n := range names {
		if !IsID(n.Name()) {
			continue
		}
		k, err := Read(dir, n.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b Kept) int { return strings.Compare(a.ID, b.ID) })
	return all, errors.Join(errs...)
}

// Read gives one.
func Read(dir, id string) (k Kept, err error) {
	if !IsID(id) {
		return k, fmt.Errorf("%q: %w", id, ErrName)
	}
	data, err := smallfile.Read(filepath.Join(dir, id, noteName), maxNote)
	if errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("%s: %w", id, ErrNone)
	}
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err == nil {
		err = k.check(id)
	}
	if err != nil {
		return Kept{}, fmt.Errorf("read what is kept as %s: %w", id, err)
	}
	return k, nil
}

var errNote = errors.New("its note contradicts itself")

func (k Kept) check(id string) error {
	if k.ID != id || !filepath.IsAbs(k.Where) {
		return errNote
	}
	for _, i := range k.Images {
		if i.File != filepath.Base(i.File) || i.File == "." || i.File == ".." {
			return errNote
		}
	}
	return nil
}

// write notes that the images of k are whole.
func (k Kept) write(dir string) error {
	data, err := json.MarshalIndent(k, "", "  ")
	if err == nil {
		err = atomicfile.Write(filepath.Join(dir, k.ID, noteName), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("note what is kept as %s: %w", k.ID, err)
	}
	return nil
}

// Remove ends a Kept, its images first.
func Remove(dir, id string) error {
	k, err := Read(dir, id)
	if err != nil {
		return err
	}
	for _, i := range k.Images {
		if err := os.Remove(k.Path(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", id, err)
		}
	}
	if own := filepath.Join(dir, id); k.Where != own {
		if err := os.Remove(k.Where); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", id, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, id)); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	return nil
}
