package check

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"kvmctl/internal/mountinfo"
	"kvmctl/internal/units"
)

// Disk looks at the file system below a path: whether it is mounted, can be written and has room.
type Disk struct {
	Path      string
	Mounted   bool   // something has to be mounted at Path itself
	ReadOnly  bool   // it may be read-only
	MinFree   string // room for whoever is not root: "5%", or a size such as "2G"; empty: any
	MinInodes string // inodes that are free: "5%", or a number; empty: any. What counts none (btrfs) has enough
}

// The defaults of a file: less has stopped services.
const (
	DefaultMinFree   = "5%"
	DefaultMinInodes = "5%"
)

// Kind implements Spec.
func (Disk) Kind() string { return "disk" }

// Validate implements Spec.
func (s Disk) Validate() error {
	if !filepath.IsAbs(s.Path) {
		return fmt.Errorf("path %q is not absolute", s.Path)
	}
	if _, err := parseFloor(s.MinFree, parseSize); err != nil {
		return fmt.Errorf("min_free %q is neither a part such as \"5%%\" nor a size such as \"2G\"", s.MinFree)
	}
	if _, err := parseFloor(s.MinInodes, parseCount); err != nil {
		return fmt.Errorf("min_inodes %q is neither a part such as \"5%%\" nor a number", s.MinInodes)
	}
	return nil
}

// floor is how much of something has to be left.
type floor struct {
	part  float64 // of the whole, 0 to 1
	count uint64
}

func parseSize(s string) (uint64, error) {
	n, err := units.ParseSize(s)
	return uint64(n), err
}

func parseCount(s string) (uint64, error) { return strconv.ParseUint(s, 10, 63) }

func parseFloor(s string, count func(string) (uint64, error)) (f floor, err error) {
	part, ok := strings.CutSuffix(s, "%")
	switch {
	case s == "":
	case ok:
		f.part, err = strconv.ParseFloat(part, 64)
		if err == nil && !(f.part >= 0 && f.part <= 100) {
			err = strconv.ErrRange
		}
		f.part /= 100
	default:
		f.count, err = count(s)
	}
	return f, err
}

// below tells whether free of total is less than the floor.
func (f floor) below(free, total uint64) bool {
	return free < f.count || total > 0 && float64(free) < f.part*float64(total)
}

// room is what statfs(2) says.
type room struct {
	block         uint64 // bytes
	blocks        uint64 // those that root alone may use left out
	free          uint64 // of blocks
	inodes, spare uint64
}

// judge says what is wrong.
func (s Disk) judge(at mountinfo.Entry, r room) error {
	on := fmt.Sprintf("%s on %s", at.Type, at.Source)
	if s.Mounted && at.Point != filepath.Clean(s.Path) {
		return fmt.Errorf("nothing is mounted at %s: it is a directory of %s (%s)", s.Path, at.Point, on)
	}
	if !s.ReadOnly && at.ReadOnly() {
		return fmt.Errorf("%s is read-only (%s): the kernel does that after an error, see dmesg", s.Path, on)
	}
	space, _ := parseFloor(s.MinFree, parseSize) // Validate has seen them
	inodes, _ := parseFloor(s.MinInodes, parseCount)
	if space.below(mul(r.free, r.block), mul(r.blocks, r.block)) {
		return fmt.Errorf("%s has %s free (%s), wanted %s: %s", s.Path, units.Size(mul(r.free, r.block)).Rounded(), percent(r.free, r.blocks), s.MinFree, on)
	}
	if r.inodes > 0 && inodes.below(r.spare, r.inodes) {
		return fmt.Errorf("%s has %d inodes free (%s), wanted %s: %s", s.Path, r.spare, percent(r.spare, r.inodes), s.MinInodes, on)
	}
	return nil
}

// mul is a product that stays within what a size can be.
func mul(a, b uint64) uint64 {
	if b != 0 && a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}

func percent(part, whole uint64) string {
	if whole == 0 {
		return "0%"
	}
	return strconv.FormatFloat(math.Floor(1000*float64(part)/float64(whole))/10, 'f', -1, 64) + "%"
}

// covering gives the mount that path lies on: the deepest, and of several at one point the last.
func covering(table []mountinfo.Entry, path string) (at mountinfo.Entry, ok bool) {
	for _, e := range table {
		if len(e.Point) >= len(at.Point) && lies(path, e.Point) {
			at, ok = e, true
		}
	}
	return at, ok
}

// lies tells whether path is dir, or below it.
func lies(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
