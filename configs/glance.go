package configs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/units"
)

// Glance is what a list of guests shows of a site: reading and judging 200 files to say which of them are sound takes five times as
// long as asking twenty QEMUs how they are.
type Glance struct {
	Host   Host
	Guests []GlanceGuest // sorted by name
}

// GlanceGuest is one guest at a glance.
type GlanceGuest struct {
	Name   string
	Memory units.Size // 0: its file is broken
	Digest string     // of what a running guest would have (vm.Spec.Digest)
	Broken bool       // Site.ProblemsOf has something to tell
	Auto   bool       // autostart
}

// Find gives the guest of a name.
func (g *Glance) Find(name string) (GlanceGuest, bool) {
	i, ok := slices.BinarySearchFunc(g.Guests, name, func(x GlanceGuest, n string) int { return strings.Compare(x.Name, n) })
	if !ok {
		return GlanceGuest{}, false
	}
	return g.Guests[i], true
}

// Glance gives the site at a glance.
func (s *Site) Glance() *Glance {
	g := &Glance{Host: s.Host, Guests: make([]GlanceGuest, len(s.Guests))}
	for i, x := range s.Guests {
		memory := x.Spec.Memory
		if x.Broken { // what could not be read is a default, which nobody wrote
			memory = 0
		}
		g.Guests[i] = GlanceGuest{Name: x.Spec.Name, Memory: memory, Digest: x.Spec.Digest(),
			Broken: len(s.ProblemsOf(x.Spec.Name)) > 0, Auto: x.Spec.Autostart}
	}
	return g
}

// LoadGlance is Load and Glance. What was judged is kept in the file cache, which only the caller may write, and is believed as long as
// program and files are the same by inode, size and both times. A cache that cannot be used or written costs time, nothing else.
func LoadGlance(ctx context.Context, root, cache string) (*Glance, error) {
	return loadGlance(ctx, root, cache, time.Now())
}

func loadGlance(ctx context.Context, root, cache string, now time.Time) (*Glance, error) {
	s, err := newSite(root)
	if err != nil {
		return nil, err
	}
	key, newest, err := stampSite(s.Root)
	if err != nil {
		return nil, err
	}
	if guests, ok := readGlance(cache, key); ok {
		s.loadHost()
		return &Glance{Host: s.Host, Guests: guests}, nil
	}
	if s, err = Load(ctx, root); err != nil {
		return nil, err
	}
	g := s.Glance()
	// A file written at this moment could be written again without its time moving on: it is judged anew until it has settled.
	// So is a site whose verdict changes with what is started.
	if newest.Before(now.Add(-settled)) && !s.aging {
		_ = atomicfile.WriteVolatile(cache, encodeGlance(key, g.Guests), 0o600)
	}
	return g, nil
}

// settled is far more than the grain in which file systems and kernels keep time.
const settled = 2 * time.Second

// stampSite gives a key that changes with whatever Load would read, or with the program that judges it, and the time of the newest change.
func stampSite(root string) (key string, newest time.Time, err error) {
	var entries []fs.DirEntry
	fd := -1 // nothing is declared
	dir, err := os.Open(root + configDir)
	if err == nil {
		defer dir.Close()
		fd = int(dir.Fd()) // names are found faster from here than from the top
		entries, err = dir.ReadDir(-1)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", newest, fmt.Errorf("list guests: %w", err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	b := strconv.AppendQuote(nil, root)
	b = append(strconv.AppendQuote(b, machineID(root)), '\n')
	add := func(dir int, path string) {
		var changed time.Time
		b, changed = stamp(b, dir, path)
		newest = later(newest, changed)
	}
	add(unix.AT_FDCWD, "/proc/self/exe")
	add(fd, "kvm.toml")
	for _, e := range entries {
		if e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
			add(fd, e.Name()+"/vm.toml")
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), newest, nil
}

// stamp appends to b what identifies a file's content without reading it, and gives the time of its last change.
func stamp(b []byte, dir int, path string) ([]byte, time.Time) {
	b = strconv.AppendQuote(b, path)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, path, &st, 0); err != nil {
		return append(append(b, err.Error()...), '\n'), time.Time{}
	}
	for _, n := range [...]int64{int64(st.Dev), int64(st.Ino), st.Size, int64(st.Mode), st.Mtim.Nano(), st.Ctim.Nano()} {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	return append(b, '\n'), later(time.Unix(st.Mtim.Unix()), time.Unix(st.Ctim.Unix()))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// newSite gives an empty site with its root made absolute.
func newSite(root string) (*Site, error) {
	if root != "" {
		abs, err := filepath.Abs(root)
		if err != nil {
			return nil, fmt.Errorf("resolve root: %w", err)
		}
		root = strings.TrimSuffix(abs, "/")
	}
	return &Site{Root: root, HostFile: root + configDir + "/kvm.toml"}, nil
}
