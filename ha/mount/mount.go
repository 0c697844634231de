package mount

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kvmctl/internal/runner"
)

// Mount is a file system of a group.
type Mount struct {
	Device  string // path of its block device
	Dir     string // where it belongs
	Type    string // as mount(8) -t has it: ext4, xfs
	Options string // as mount(8) -o has them, comma-separated; may be empty
	Fsck    Fsck
}

// Fsck says what is done to a file system before it is mounted.
type Fsck uint8

// The policies.
const (
	Preen Fsck = iota // ext2, 3 and 4: e2fsck -p; others repair themselves when they are mounted
	Never             // nothing
	Fail              // look only, and refuse what is unclean
)

var policies = [...]string{Preen: "preen", Never: "never", Fail: "fail"}

func (f Fsck) String() string {
	if int(f) < len(policies) {
		return policies[f]
	}
	return fmt.Sprintf("fsck(%d)", uint8(f))
}

// UnmarshalText reads a policy's name.
func (f *Fsck) UnmarshalText(b []byte) error {
	for i, name := range policies {
		if string(b) == name {
			*f = Fsck(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", b, strings.Join(policies[:], ", "))
}

// Validate says all that is wrong with m whatever the machine.
func (m Mount) Validate() error {
	var errs []error
	for _, p := range []struct{ name, path string }{{"device", m.Device}, {"dir", m.Dir}} {
		if !filepath.IsAbs(p.path) || strings.ContainsRune(p.path, 0) {
			errs = append(errs, fmt.Errorf("%s %q is no absolute path", p.name, p.path))
		}
	}
	if filepath.Clean(m.Dir) == "/" {
		errs = append(errs, errors.New("dir is the root directory"))
	}
	if m.Type == "" || strings.ContainsFunc(m.Type, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
		errs = append(errs, fmt.Errorf("type %q is no name of a file system", m.Type))
	}
	for o := range strings.SplitSeq(m.Options, ",") {
		switch name, _, _ := strings.Cut(o, "="); name {
		case "bind", "rbind", "remount", "move", "loop", "offset", "sizelimit": // they would mount something else than the device
			errs = append(errs, fmt.Errorf("option %q is not for a group's file system", o))
		}
	}
	if m.Fsck == Fail && !extended(m.Type) && m.Type != "xfs" {
		errs = append(errs, fmt.Errorf("fsck fail is known for ext2, ext3, ext4 and xfs, not for %s", m.Type))
	}
	return errors.Join(errs...)
}

// readOnly reports whether it is to be mounted for reading alone: the last option that says so counts.
func (m Mount) readOnly() bool {
	ro := false
	for o := range strings.SplitSeq(m.Options, ",") {
		ro = o == "ro" || ro && o != "rw"
	}
	return ro
}

func extended(kind string) bool { return kind == "ext2" || kind == "ext3" || kind == "ext4" }

// Mounter mounts and unmounts. Its methods may be called by several goroutines.
type Mounter struct {
	Grace time.Duration // between SIGTERM and SIGKILL for a holder; 0: 2 s

	run  runner.Runner
	here here // what it knows of this system

	mu      sync.Mutex
	running map[string]chan struct{} // by directory: closed when the act there has come back
}

// New gives a Mounter whose programs r executes.
func New(r runner.Runner) *Mounter {
	return &Mounter{run: r, here: system(), running: make(map[string]chan struct{})}
}
