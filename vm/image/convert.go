package image

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"kvmctl/internal/units"
)

// ConvertOptions describe a copy of an image in a format of its own.
type ConvertOptions struct {
	Source       string
	SourceFormat string // never guessed: a guest can write any header into its raw disk
	Path         string // of the copy
	Format       string // of the copy: qcow2 or raw
}

// importable are the formats that a copy may be made from.
var importable = map[string]bool{QCOW2: true, Raw: true, "qcow": true, "qed": true, "vdi": true, "vhdx": true, "vmdk": true, "vpc": true, "parallels": true}

// Convert copies an image, the content of its backing files included, into a new one. What Create promises of the new
// image holds here too. progress may be nil; total is the size that the guest sees. The errors are Create's, *FormatError,
// and *LockedError where a guest uses the source.
func (t Tool) Convert(ctx context.Context, o ConvertOptions, progress Progress) error {
	if !importable[o.SourceFormat] {
		return &OptionError{fmt.Sprintf("source format %q: not one that can be converted", o.SourceFormat)}
	}
	if o.Format != QCOW2 && o.Format != Raw {
		return &OptionError{fmt.Sprintf("image format %q: want %s or %s", o.Format, QCOW2, Raw)}
	}
	source, err := absolute(o.Source)
	if err != nil {
		return err
	}
	path, err := absolute(o.Path)
	if err != nil {
		return err
	}
	if err := convertible(ctx, source, o.SourceFormat); err != nil {
		return err
	}
	if err := CheckUnlocked(ctx, source, false); err != nil {
		return err
	}
	info, err := t.Info(ctx, source, o.SourceFormat)
	if err != nil {
		return err
	}
	if o.SourceFormat != QCOW2 && info.Backing != "" { // Chain has followed a qcow2's; another's may lead anywhere
		return &ChainError{Path: source, Reason: fmt.Sprintf("needs another file, %q: not supported", info.Backing)}
	}
	// For a raw copy qemu-img would name its whole size; holes stay holes, and what there is takes as much in qcow2.
	need, err := t.measure(ctx, "-f", o.SourceFormat, "-O", QCOW2, source)
	if err != nil {
		return orLocked(ctx, err, false, source)
	}
	return t.make(ctx, path, need, nil, func(p *place) error {
		args := []string{"convert", "-f", o.SourceFormat, "-O", o.Format}
		var percent *percentages
		if progress != nil {
			args = append(args, "-p")
			percent = &percentages{total: info.VirtualSize, progress: progress}
			return orLocked(ctx, t.do(ctx, percent, p.rename, append(args, source, p.temp)...), false, source)
		}
		return orLocked(ctx, t.do(ctx, nil, p.rename, append(args, source, p.temp)...), false, source)
	})
}

// convertible proves a source to be what it goes by.
func convertible(ctx context.Context, path, format string) error {
	if format == QCOW2 || format == Raw {
		_, err := Chain(ctx, path, format)
		return err
	}
	h, err := header(path)
	if err != nil {
		return err
	}
	switch {
	case h.Format != format:
		return &FormatError{path, format, h.Format}
	case h.ExternalData:
		return elsewhere(path)
	}
	return nil
}

// elsewhere refuses a descriptor: qemu-img would open whatever file it names, and put it into the copy.
func elsewhere(path string) error {
	return &ChainError{Path: path, Reason: "is a descriptor that names other files: not supported"}
}

// percentages reads "    (12.34/100%)\r" as qemu-img -p writes it, and tells progress. Anything else is passed over.
type percentages struct {
	total    units.Size
	progress Progress
	line     []byte
}

func (w *percentages) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case c == '\r' || c == '\n':
			if share, ok := parsePercent(w.line); ok {
				w.progress(units.Size(float64(w.total)*share), w.total)
			}
			w.line = w.line[:0]
		case len(w.line) < 64:
			w.line = append(w.line, c)
		}
	}
	return len(b), nil
}

// parsePercent gives the share, 0 to 1.
func parsePercent(line []byte) (float64, bool) {
	text, ok := strings.CutPrefix(string(bytes.TrimSpace(line)), "(")
	if !ok {
		return 0, false
	}
	if text, ok = strings.CutSuffix(text, "/100%)"); !ok {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= 100) {
		return 0, false
	}
	return v / 100, true
}
