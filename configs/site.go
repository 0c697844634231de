package configs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sync/errgroup"

	"kvmctl/configs/strict"
	"kvmctl/internal/nearest"
	"kvmctl/vm"
)

// Site is everything below /etc/kvm.
type Site struct {
	Root     string // absolute, in front of every path; "" is the machine's own root
	Host     Host
	HostFile string  // path of kvm.toml, there or not
	Guests   []Guest // sorted by name
	Problems Problems

	aging bool // Problems depend on which guests were started
}

// Guest is one guest as its file describes it.
type Guest struct {
	Spec   vm.Spec
	File   string
	Broken bool // its own file has problems; Spec holds what could be read
}

// UnknownGuestError says that a site has no guest of a name.
type UnknownGuestError struct {
	Name string
	Near string // the guest whose name is nearest; may be empty
	None bool   // there is no guest at all
}

// Error names the guest.
func (e *UnknownGuestError) Error() string { return fmt.Sprintf("unknown guest %q", e.Name) }

// Hint asks about the nearest name, and tells where all names are, or how to make the first guest.
func (e *UnknownGuestError) Hint() string {
	switch {
	case e.Near != "":
		return fmt.Sprintf("did you mean %q? else: kvmctl list", e.Near)
	case e.None:
		return "kvmctl create " + e.Name
	}
	return "kvmctl list"
}

// Guest finds a guest by name, or returns a *NameError or *UnknownGuestError.
func (s *Site) Guest(name string) (Guest, error) {
	i, ok := slices.BinarySearchFunc(s.Guests, name, func(g Guest, n string) int { return strings.Compare(g.Spec.Name, n) })
	if ok {
		return s.Guests[i], nil
	}
	names := make([]string, len(s.Guests))
	for i, g := range s.Guests {
		names[i] = g.Spec.Name
	}
	near, ok := nearest.Find(name, names)
	if err := CheckName(name); err != nil && !ok {
		return Guest{}, err
	}
	return Guest{}, &UnknownGuestError{name, near, len(names) == 0}
}

// ProblemsOf returns what keeps one guest from being used: problems of kvm.toml and of the guest's own file. What is
// wrong between guests is told in the file of each that takes part, so another guest's mistakes do not count.
func (s *Site) ProblemsOf(name string) Problems {
	var out Problems
	own := guestFile(s.Root, name)
	for _, p := range s.Problems {
		if p.File == s.HostFile || p.File == own {
			out = append(out, p)
		}
	}
	return out
}

func guestFile(root, name string) string { return filepath.Join(root+configDir, name, "vm.toml") }

// Load reads kvm.toml and every guest below root, which stands in front of every path. Mistakes in files are in
// Site.Problems; the error is for what makes everything impossible: /etc/kvm that cannot be listed, or the end of ctx.
// A missing kvm.toml, or a missing /etc/kvm, is a site with defaults.
func Load(ctx context.Context, root string) (*Site, error) {
	s, err := newSite(root)
	if err != nil {
		return nil, err
	}
	s.loadHost()
	guests, err := readGuests(ctx, s.Root, s.Host)
	if err != nil {
		return nil, err
	}
	e := &elders{root: s.Root}
	checkTogether(guests, e)
	s.aging = e.asked
	for _, p := range guests {
		s.Guests = append(s.Guests, Guest{p.spec, p.doc.File, p.broken})
		s.Problems = append(s.Problems, p.doc.Problems...)
	}
	s.Problems.Sort()
	return s, nil
}

// Judge tells what would be wrong with a new guest's file, by itself and beside the guests that are there.
func (s *Site) Judge(ctx context.Context, name string, text []byte) (Problems, error) {
	guests, err := readGuests(ctx, s.Root, s.Host)
	if err != nil {
		return nil, err
	}
	p := parseGuest(guestFile(s.Root, name), name, text, s.Host)
	// A guest of that name that is there already is the one to be replaced, not a rival.
	guests = slices.DeleteFunc(guests, func(g *parsed) bool { return g.spec.Name == name })
	checkTogether(append(guests, &p), &elders{root: s.Root})
	p.doc.Problems.Sort()
	return p.doc.Problems, nil
}

// readGuests parses every guest's file, sorted by name.
func readGuests(ctx context.Context, root string, host Host) ([]*parsed, error) {
	entries, err := os.ReadDir(root + configDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list guests: %w", err)
	}
	found := make([]*parsed, len(entries))
	var next atomic.Int64
	group, gctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) { // a goroutine for each guest would grow its stack anew each time: a tenth of the whole
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(entries) && gctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if e := entries[i]; e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
					found[i] = loadGuest(root, e.Name(), host)
				}
			}
			return gctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("load guests: %w", err)
	}
	guests := make([]*parsed, 0, len(found))
	for _, p := range found {
		if p != nil {
			guests = append(guests, p)
		}
	}
	slices.SortFunc(guests, func(a, b *parsed) int { return strings.Compare(a.spec.Name, b.spec.Name) })
	return guests, nil
}

func (s *Site) loadHost() {
	text, err := strict.Read(s.HostFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Host = DefaultHost()
	case err != nil:
		s.Host = DefaultHost()
		s.Host.BridgesUnknown = true
		s.Problems = Problems{strict.Unreadable(s.HostFile, err)}
	default:
		s.Host, s.Problems = ParseHost(s.HostFile, text, machineID(s.Root))
	}
	s.Host.Root = s.Root
}

// loadGuest returns nil for a directory that is no guest's: one without a vm.toml.
func loadGuest(root, name string, host Host) *parsed {
	file := guestFile(root, name)
	text, err := strict.Read(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		p := parsed{spec: defaultSpec(name, host), doc: &strict.Document{File: file}, broken: true}
		p.doc.Problems = Problems{strict.Unreadable(file, err)}
		return &p
	}
	p := parseGuest(file, name, text, host)
	p.broken = len(p.doc.Problems) > 0
	return &p
}

// machineID tells this machine from others, and the same on every run: the root's machine-id, else the machine's own,
// else its name.
func machineID(root string) string {
	for _, path := range []string{root + "/etc/machine-id", "/etc/machine-id"} {
		if b, err := strict.Read(path); err == nil && len(strings.TrimSpace(string(b))) > 0 {
			return strings.TrimSpace(string(b))
		}
	}
	name, _ := os.Hostname() // an error leaves "": then only the bridge's name counts
	return name
}
