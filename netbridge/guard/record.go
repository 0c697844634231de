package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
	"kvmctl/netbridge"
)

// Files are the places on disk.
type Files struct {
	Record    string // there while a change is not confirmed: how everything was
	Confirmed string // the moves that were confirmed once, for the next boot
	Last      string // how the last change that was undone ended
	NetLock   string // held by whoever changes networks
	GuardLock string // held by the guard as long as it lives
}

// Place is where a change is made: what it did is gone with the boot, and not to be seen from another network namespace.
type Place struct {
	Boot  string `json:"boot"`
	Netns string `json:"netns"` // device and inode
}

// Here gives the place that the calling thread is in.
func Here() (Place, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Place{}, fmt.Errorf("identify the boot: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return Place{}, fmt.Errorf("identify the network namespace: %w", err)
	}
	return Place{strings.TrimSpace(string(boot)), fmt.Sprintf("%d:%d", st.Dev, st.Ino)}, nil
}

// Move is an uplink that is a port of a bridge by a change that was confirmed.
type Move struct {
	Bridge string `json:"bridge"`
	Uplink string `json:"uplink"` // empty: none any more
	MAC    string `json:"mac"`    // of the uplink: another card may have its name after a boot
}

// Record is a change that is not confirmed yet.
type Record struct {
	Version int                `json:"version"`
	ID      string             `json:"id"` // of this change
	Place   Place              `json:"place"`
	By      string             `json:"by"`
	At      time.Time          `json:"at"`
	Began   time.Duration      `json:"began"`    // since the boot, suspended time included, in nanoseconds
	Timeout time.Duration      `json:"timeout"`  // from Acted on, in nanoseconds
	PID     int                `json:"pid"`      // who makes it
	Start   uint64             `json:"pid_born"` // tells it from a later process of that number
	Acted   time.Duration      `json:"acted"`    // as Began; 0: not all steps are done
	Steps   []string           `json:"steps"`
	Moves   []Move             `json:"moves"`
	Before  []netbridge.Before `json:"before"`
}

const (
	recordVersion = 1
	maxRecord     = 64 << 20 // bytes; a host that is a router may have many routes
)

// errBad is a record that cannot be understood.
var errBad = errors.New("it is damaged")

// decode reads a record. It is root's own file, and still not believed beyond what it can say.
func decode(text []byte) (*Record, error) {
	var rec Record
	if err := json.Unmarshal(text, &rec); err != nil {
		return nil, fmt.Errorf("%w: %w", errBad, err)
	}
	if rec.Version != recordVersion {
		return nil, fmt.Errorf("%w: version %d, this kvmctl knows %d", errBad, rec.Version, recordVersion)
	}
	if rec.ID == "" || rec.Timeout < 0 || rec.Acted < 0 {
		return nil, errBad
	}
	for _, b := range rec.Before {
		if err := netbridge.CheckName(b.Name); err != nil {
			return nil, fmt.Errorf("%w: %w", errBad, err)
		}
	}
	return &rec, nil
}

// BadRecordError is a record that nobody can undo by.
type BadRecordError struct {
	Path string
	Err  error
}

func (e *BadRecordError) Error() string { return fmt.Sprintf("read %s: %v", e.Path, e.Err) }

// Unwrap gives the reason.
func (e *BadRecordError) Unwrap() error { return e.Err }

// Hint is what to do by hand.
func (e *BadRecordError) Hint() string {
	return "set the network right by hand, then: rm " + e.Path
}

// read gives the record, nil if there is none.
func (f Files) read() (*Record, error) {
	text, err := smallfile.Read(f.Record, maxRecord)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, smallfile.ErrTooLong):
		return nil, &BadRecordError{f.Record, fmt.Errorf("%w: %w", errBad, smallfile.ErrTooLong)}
	case err != nil:
		return nil, fmt.Errorf("read the record: %w", err)
	}
	rec, err := decode(text)
	if err != nil {
		return nil, &BadRecordError{f.Record, err}
	}
	return rec, nil
}

func (f Files) write(rec *Record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	if err := atomicfile.Write(f.Record, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// remove makes the record gone for good, also after a power cut.
func (f Files) remove() error {
	if err := os.Remove(f.Record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record: %w", err)
	}
	dir, err := os.Open(filepath.Dir(f.Record))
	if err != nil {
		return fmt.Errorf("remove the record: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("remove the record: %w", err)
	}
	return nil
}

// sinceBoot is a clock that nobody sets.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail
	return time.Duration(ts.Nano())
}

// Left is how much of the time for a confirmation is left, at least 0.
func (r *Record) Left() time.Duration {
	if r.Acted == 0 {
		return r.Timeout
	}
	return max(0, r.Timeout-(sinceBoot()-r.Acted))
}
