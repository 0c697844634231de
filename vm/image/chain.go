package image

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// MaxDepth is how many images a backing chain may have, the first included.
const MaxDepth = 16

// Link is one image of a backing chain.
type Link struct {
	Path   string // relative backing names are resolved against the directory of the image that names them
	Format string // to be named to QEMU explicitly: it must never guess
	Header Header
}

// FormatError says that an image is of another format than the one it goes by.
type FormatError struct {
	Path      string
	Want, Got string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("image %s: is %s, not %s", e.Path, e.Got, e.Want)
}

// Hint says what may be typed. A guest can write a header of its choice into its own raw disk, and one who then believes
// it hands files of the host to the guest: hence the condition.
func (e *FormatError) Hint() string {
	switch {
	case e.Want == Raw:
		return fmt.Sprintf("if you made it as %s yourself, set format = %q; if not, its guest wrote that header: leave it raw and ask why", e.Got, e.Got)
	case e.Got == Raw:
		return fmt.Sprintf("set format = %q, or give an image that is %s", Raw, e.Want)
	}
	return convertHint(e.Path, e.Got)
}

// convertHint says how to make an image of ours from one of a foreign format; empty: we cannot.
func convertHint(path, format string) string {
	if !importable[format] || format == Raw || format == QCOW2 {
		return ""
	}
	return fmt.Sprintf("kvmctl image convert %s NEW.%s", path, QCOW2)
}

// ChainError says why a backing chain cannot be used.
type ChainError struct {
	Path   string // the image at fault
	Reason string
	hint   string
}

func (e *ChainError) Error() string { return fmt.Sprintf("image %s: %s", e.Path, e.Reason) }

// Hint says what may be typed; empty: nothing helps that we know.
func (e *ChainError) Hint() string { return e.hint }

// Chain follows the backing files of the image at path, which goes by format (qcow2 or raw), and gives them in order, the
// image itself first. It opens each one only to read its header. The error wraps what open gives, or is a *FormatError, a
// *HeaderError or a *ChainError (loop, depth, a URL, no backing format, data elsewhere, corrupt, unknown features).
func Chain(ctx context.Context, path, format string) ([]Link, error) {
	type id struct{ dev, ino uint64 }
	seen := map[id]bool{}
	var links []Link
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("follow the backing files of %s: %w", path, context.Cause(ctx))
		}
		o, err := open(path)
		if err != nil {
			return nil, named(links, err)
		}
		h, err := ReadHeader(o.f, o.size)
		o.f.Close()
		if err != nil {
			return nil, named(links, fmt.Errorf("image %s: %w", path, err))
		}
		if seen[id{o.dev, o.ino}] {
			return nil, &ChainError{Path: path, Reason: "is its own backing file, over " + links[len(links)-1].Path}
		}
		seen[id{o.dev, o.ino}] = true
		if err := usable(path, format, h); err != nil {
			return nil, named(links, err)
		}
		if format == Raw {
			return append(links, Link{path, Raw, Header{Format: Raw, VirtualSize: units.Size(o.size)}}), nil
		}
		links = append(links, Link{path, format, h})
		if h.Backing == "" {
			return links, nil
		}
		if len(links) == MaxDepth {
			return nil, &ChainError{Path: links[0].Path, Reason: fmt.Sprintf("more than %d images on one another", MaxDepth)}
		}
		if path, err = resolve(path, h); err != nil {
			return nil, err
		}
		format = h.BackingFormat
	}
}

// named says who wanted a backing file that is no good.
func named(links []Link, err error) error {
	if len(links) == 0 {
		return err
	}
	return fmt.Errorf("backing file of %s: %w", links[len(links)-1].Path, err)
}

// usable compares what an image goes by with what it is.
func usable(path, format string, h Header) error {
	switch {
	case format != Raw && format != QCOW2:
		return &ChainError{Path: path, Reason: fmt.Sprintf("format %q: want %s or %s", format, QCOW2, Raw), hint: convertHint(path, h.Format)}
	case format == Raw && (h.Format == Raw || h.Format == "luks"): // a guest may well encrypt its disk
		return nil
	case format != h.Format:
		return &FormatError{path, format, h.Format}
	case h.Unknown != 0:
		return &ChainError{Path: path, Reason: fmt.Sprintf("made by a newer QEMU: unknown incompatible features %#x", h.Unknown)}
	case h.ExternalData:
		return &ChainError{Path: path, Reason: fmt.Sprintf("keeps its data in another file, %q: not supported", h.DataFile)}
	case h.Encrypted:
		return &ChainError{Path: path, Reason: "is encrypted: not supported"}
	case h.Corrupt:
		return &ChainError{Path: path, Reason: "is marked corrupt", hint: "kvmctl image check --repair " + path}
	}
	return nil
}

// resolve gives the path of the backing file that the image at path names.
func resolve(path string, h Header) (string, error) {
	name := strings.TrimPrefix(h.Backing, "file:")
	if before, _, ok := strings.Cut(name, ":"); ok && !strings.Contains(before, "/") {
		return "", &ChainError{Path: path, Reason: fmt.Sprintf("backing file %q is no path: not supported", h.Backing)}
	}
	if h.BackingFormat == "" {
		return "", &ChainError{Path: path, Reason: fmt.Sprintf("does not say of which format its backing file %q is", h.Backing),
			hint: fmt.Sprintf("qemu-img rebase -u -f qcow2 -F FORMAT -b %s %s", h.Backing, path)}
	}
	if !filepath.IsAbs(name) {
		name = filepath.Dir(path) + "/" + name // not Join: it would take "link/.." away, which leads elsewhere
	}
	if len(name) >= unix.PathMax {
		return "", &ChainError{Path: path, Reason: "the path of its backing file is too long"}
	}
	return name, nil
}
