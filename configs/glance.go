package configs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

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
	Name   string     `json:"name"`
	Memory units.Size `json:"memory"`           // 0: its file is broken
	Digest string     `json:"digest"`           // of what a running guest would have (vm.Spec.Digest)
	Broken bool       `json:"broken,omitempty"` // Site.ProblemsOf has something to tell
	Auto   bool       `json:"auto,omitempty"`   // autostart
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
		if b, err := json.Marshal(keptGlance{Version: glanceVersion, Key: key, Guests: g.Guests}); err == nil {
			_ = atomicfile.WriteVolatile(cache, b, 0o600)
		}
	}
	return g, nil
}

// settled is far more than the grain in which file systems and kernels keep time.
const settled = 2 * time.Second

// keptGlance is the cache file.
type keptGlance struct {
	Version int           `json:"version"`
	Key     string        `json:"key"`
	Guests  []GlanceGuest `json:"guests"`
}

const (
	glanceVersion = 2
	maxGlance     = 4 << 20 // bytes of a cache file
)

// readGlance gives what the cache holds under key.
func readGlance(cache, key string) ([]GlanceGuest, bool) {
	f, err := os.OpenFile(cache, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	return decodeGlance(io.LimitReader(f, maxGlance), key)
}

func decodeGlance(r io.Reader, key string) ([]GlanceGuest, bool) {
	b, err := io.ReadAll(r)
	var kept keptGlance
	if err != nil || json.Unmarshal(b, &kept) != nil || kept.Version != glanceVersion || kept.Key != key {
		return nil, false
	}
	for i, g := range kept.Guests {
		if g.Name == "" || g.Memory < 0 || i > 0 && kept.Guests[i-1].Name >= g.Name {
			return nil, false
		}
	}
	return kept.Guests, true
}

// stampSite gives a key that changes with whatever Load would read, or with the program that judges it, and the time of the newest change.
func stampSite(root string) (key string, newest time.Time, err error) {
	entries, err := os.ReadDir(root + configDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", newest, fmt.Errorf("list guests: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q\n", root, machineID(root))
	newest = later(newest, stamp(h, "/proc/self/exe"))
	newest = later(newest, stamp(h, root+configDir+"/kvm.toml"))
	for _, e := range entries {
		if e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
			newest = later(newest, stamp(h, guestFile(root, e.Name())))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), newest, nil
}

// stamp adds to h what identifies a file's content without reading it, and gives the time of its last change.
func stamp(h hash.Hash, path string) time.Time {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		fmt.Fprintf(h, "%q %v\n", path, err)
		return time.Time{}
	}
	fmt.Fprintf(h, "%q %d %d %d %o %d %d\n", path, st.Dev, st.Ino, st.Size, st.Mode, st.Mtim.Nano(), st.Ctim.Nano())
	return later(time.Unix(st.Mtim.Unix()), time.Unix(st.Ctim.Unix()))
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
