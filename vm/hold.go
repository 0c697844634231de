package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// Hold keeps a guest from running: its HA peer was promised that it does not, and may be writing what the guest would write, too. It outlives
// a reboot of the host, and only a person ends it.
type Hold struct {
	Request string    // 32 lower-case hex digits: the fence request that was answered last
	For     string    // the node that asked
	At      time.Time // when
	By      string    // who asked here: "root, kvmctl fence"
}

// holdFile is a Hold on disk.
type holdFile struct {
	Version int       `json:"version"`
	Request string    `json:"request"`
	For     string    `json:"for"`
	At      time.Time `json:"at"`
	By      string    `json:"by"`
}

const (
	holdVersion = 1
	maxHold     = 1024 // bytes of the file
	maxHoldBy   = 120  // bytes of who asked
	maxHoldNode = 64   // bytes of a node's name
)

// HeldError says that a guest must not run, because it was fenced.
type HeldError struct {
	Name string // of the guest
	Hold *Hold  // nil: its file cannot be read, and holds all the same
	Err  error  // why it cannot be read
}

func (e *HeldError) Error() string {
	if e.Hold == nil {
		return fmt.Sprintf("it is held, and nobody can tell for whom: %v", e.Err)
	}
	return "it was " + e.Hold.String()
}
func (e *HeldError) Unwrap() error { return e.Err }

// word is what a table has room for.
func (e *HeldError) word() string {
	if e.Hold == nil {
		return "held, for whom cannot be read"
	}
	return "held for " + e.Hold.For
}

// Hint ends the hold.
func (e *HeldError) Hint() string { return "kvmctl unhold " + e.Name }

// Refused marks the error as a refusal for safety: two that write one data set destroy it.
func (e *HeldError) Refused() bool { return true }

// String words a hold: "fenced for varda2 at 2026-03-01 12:00:00".
func (d *Hold) String() string {
	return "fenced for " + d.For + " at " + d.At.Local().Format(time.DateTime)
}

// CheckHold gives a *HeldError for a guest that is held. Whatever is in the place of its hold and cannot be understood holds it.
func (l Layout) CheckHold(name string) error {
	d, err := l.loadHold(name)
	if d == nil && err == nil {
		return nil
	}
	return &HeldError{Name: name, Hold: d, Err: err}
}

// loadHold gives a guest's hold; nil without an error: there is none.
func (l Layout) loadHold(name string) (*Hold, error) {
	path := l.HoldFile(name)
	b, err := smallfile.Read(path, maxHold)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := parseHold(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return d, nil
}

// parseHold accepts what encodeHold writes.
func parseHold(b []byte) (*Hold, error) {
	if len(b) > maxHold {
		return nil, fmt.Errorf("more than %d bytes", maxHold)
	}
	var f holdFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("damaged: something follows the hold")
	}
	switch {
	case f.Version != holdVersion:
		return nil, fmt.Errorf("version %d is not one that this kvmctl knows", f.Version)
	case f.At.IsZero() || f.At.Year() < 1970 || f.At.Year() > 9999:
		return nil, errors.New("damaged: no time")
	case len(f.By) > maxHoldBy || f.By != printable(f.By):
		return nil, errors.New("damaged: who asked is no text")
	}
	if err := CheckRequest(f.Request); err != nil {
		return nil, err
	}
	if err := CheckNode(f.For); err != nil {
		return nil, err
	}
	return &Hold{Request: f.Request, For: f.For, At: f.At, By: f.By}, nil
}

func encodeHold(d *Hold) ([]byte, error) {
	by := printable(d.By)
	for len(by) > maxHoldBy {
		by = strings.ToValidUTF8(by[:maxHoldBy], "")
	}
	b, err := json.Marshal(holdFile{holdVersion, d.Request, d.For, d.At, by})
	return append(b, '\n'), err
}

// saveHold writes a hold down so that no power cut takes it back.
func (l Layout) saveHold(name string, d *Hold) error {
	b, err := encodeHold(d)
	if err != nil {
		return err
	}
	if dir := l.GuestLibDir(name); absent(dir) { // it never ran
		if err := MakeDirs(dir, 0o711); err != nil {
			return err
		}
		if err := errors.Join(syncDir(l.LibDir()), syncDir(filepath.Dir(l.LibDir()))); err != nil {
			return fmt.Errorf("write the hold: %w", err)
		}
	}
	if err := atomicfile.Write(l.HoldFile(name), b, 0o600); err != nil {
		return fmt.Errorf("write the hold: %w", err)
	}
	return nil
}

// Unhold lets a guest run again and tells what kept it from that; nil: it was not held. Durable when it returns.
func (h *Host) Unhold(name string) (*HeldError, error) {
	var was *HeldError
	if !errors.As(h.CheckHold(name), &was) {
		return nil, nil
	}
	if err := os.Remove(h.HoldFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove the hold: %w", err)
	}
	if err := syncDir(filepath.Dir(h.HoldFile(name))); err != nil {
		return nil, fmt.Errorf("remove the hold: %w", err)
	}
	f := Fact{Time: time.Now(), Kind: KindUnhold, Reason: was.Error(), By: h.By}
	if was.Hold != nil {
		f.Request = was.Hold.Request
	}
	_ = h.appendFacts(name, h.HistorySize, false, f) // it may run, whether or not that can be told later
	return was, nil
}

// CheckRequest accepts the 128 bits of a fence request as 32 lower-case hex digits.
func CheckRequest(s string) error {
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("bad request %.40q: want 32 of 0-9a-f", s)
	}
	return nil
}

// CheckNode accepts the name of an HA member: up to 64 letters, digits, dots, dashes and underscores, the first a letter or a digit.
func CheckNode(s string) error {
	const first = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if s == "" || len(s) > maxHoldNode || strings.Trim(s, first+"._-") != "" || !strings.Contains(first, s[:1]) {
		return fmt.Errorf("bad node name %.70q: want 1 to %d letters, digits, dots, dashes and underscores", s, maxHoldNode)
	}
	return nil
}

// printable drops what has no place on a terminal or in a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}
