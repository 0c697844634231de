package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// Preallocation is how much of a new image is put on the disk at once (qemu-img(1), "preallocation").
type Preallocation string

// The preallocations: nothing; the tables of a qcow2; all of it reserved; all of it written.
const (
	PreallocOff      Preallocation = "off"
	PreallocMetadata Preallocation = "metadata"
	PreallocFalloc   Preallocation = "falloc"
	PreallocFull     Preallocation = "full"
)

// CreateOptions describe a new image.
type CreateOptions struct {
	Path          string
	Format        string        // qcow2 or raw
	Size          units.Size    // a multiple of 512 bytes; 0: the backing image's
	Preallocation Preallocation // empty: off
	Backing       string        // path as the image is to remember it, relative to its own directory; empty: none
	BackingFormat string        // needed with Backing
}

// Progress is told how much of total is done. It is called from one goroutine at a time, and not after the call it was
// given to has returned.
type Progress func(done, total units.Size)

// OptionError says that options contradict each other.
type OptionError struct{ Reason string }

func (e *OptionError) Error() string { return e.Reason }

func (o *CreateOptions) validate() error {
	bad := func(format string, args ...any) error { return &OptionError{fmt.Sprintf(format, args...)} }
	switch o.Preallocation {
	case "":
		o.Preallocation = PreallocOff
	case PreallocOff, PreallocMetadata, PreallocFalloc, PreallocFull:
	default:
		return bad("preallocation %q: want off, metadata, falloc or full", o.Preallocation)
	}
	switch {
	case o.Format != QCOW2 && o.Format != Raw:
		return bad("image format %q: want %s or %s", o.Format, QCOW2, Raw)
	case o.Format == Raw && o.Preallocation == PreallocMetadata:
		return bad("preallocation metadata: a raw image has none; want off, falloc or full")
	case o.Backing == "" && o.BackingFormat != "":
		return bad("a backing format without a backing file")
	case o.Backing == "" || o.Size != 0:
		if err := validSize(o.Size); err != nil {
			return bad("%v", err)
		}
	}
	switch {
	case o.Backing == "":
		return nil
	case o.Format == Raw:
		return bad("a raw image cannot have a backing file")
	case o.Preallocation != PreallocOff:
		return bad("preallocation %s: not together with a backing file", o.Preallocation)
	case o.BackingFormat != QCOW2 && o.BackingFormat != Raw:
		return bad("backing format %q: want %s or %s", o.BackingFormat, QCOW2, Raw)
	}
	return nil
}

// Create makes an image. It is made under a temporary name in the same directory and gets its own when it is whole and on
// the disk; it never replaces anything; on failure and when ctx ends nothing is left. Leftovers of killed runs in that
// directory are removed first. progress may be nil; it is called about five times a second. The errors: *OptionError, *ExistsError,
// *NoRoomError, what Chain says of the backing file, *ToolError, or the directory's.
func (t Tool) Create(ctx context.Context, o CreateOptions, progress Progress) error {
	if err := o.validate(); err != nil {
		return err
	}
	path, err := absolute(o.Path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	args := []string{"create", "-q", "-f", o.Format, "-o", "preallocation=" + string(o.Preallocation)}
	if o.Backing != "" {
		name, err := backing(ctx, dir, o)
		if err != nil {
			return err
		}
		args = append(args, "-b", name, "-F", o.BackingFormat)
	}
	need, err := t.need(ctx, o)
	if err != nil {
		return err
	}
	return t.make(ctx, path, need, progress, func(p *place) error {
		args = append(args, p.temp)
		if o.Size != 0 {
			args = append(args, strconv.FormatInt(int64(o.Size), 10))
		}
		return t.do(ctx, nil, p.rename, args...)
	})
}

// make is the frame of whatever makes an image: leftovers, room, place, act, commit.
func (t Tool) make(ctx context.Context, path string, need units.Size, progress Progress, act func(*place) error) error {
	dir := filepath.Dir(path)
	if _, err := CleanTemp(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := room(dir, need); err != nil {
		return err
	}
	p, err := newPlace(ctx, path)
	if err != nil {
		return err
	}
	stop := watch(p.temp, need, progress)
	err = act(p)
	stop()
	if err == nil && ctx.Err() != nil { // asked to stop in time: the image must not appear afterwards
		err = fmt.Errorf("make image %s: %w", path, context.Cause(ctx))
	}
	if err != nil {
		p.drop()
		return err
	}
	if err := p.commit(); err != nil {
		return err
	}
	if progress != nil {
		progress(need, need)
	}
	return nil
}

// need is what the new image takes of the disk from the beginning.
func (t Tool) need(ctx context.Context, o CreateOptions) (units.Size, error) {
	switch {
	case o.Format == QCOW2 && o.Backing == "":
		need, err := t.measure(ctx, "--size", strconv.FormatInt(int64(o.Size), 10), "-O", QCOW2, "-o", "preallocation="+string(o.Preallocation))
		if o.Preallocation == PreallocOff {
			need = min(need, units.MiB) // the tables come as the guest writes
		}
		return need, err
	case o.Format == Raw && o.Preallocation != PreallocOff:
		return o.Size, nil
	}
	return units.MiB, nil
}

// backing proves the backing file usable, and gives its name as qemu-img takes it for a path.
func backing(ctx context.Context, dir string, o CreateOptions) (string, error) {
	name := o.Backing
	if before, _, ok := strings.Cut(name, ":"); ok && !strings.Contains(before, "/") {
		name = "./" + name // a colon before the first slash would make it a URL
	}
	path := name
	if !filepath.IsAbs(name) {
		path = dir + "/" + name
	}
	links, err := Chain(ctx, path, o.BackingFormat)
	if err != nil {
		return "", fmt.Errorf("backing file: %w", err)
	}
	if len(links) == MaxDepth {
		return "", &ChainError{Path: path, Reason: fmt.Sprintf("has %d images under it already", MaxDepth-1)}
	}
	return name, nil
}

// watch tells progress by the blocks that temp has on the disk, until stop, which waits for the last call.
func watch(temp string, total units.Size, progress Progress) (stop func()) {
	if progress == nil {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			var st unix.Stat_t
			if unix.Stat(temp, &st) == nil {
				progress(min(units.Size(st.Blocks)*512, total), total)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
