package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
	"kvmctl/vm/qmp"
)

// snapshotRecord keeps the machine that a guest had when a snapshot of its memory was made.
func (l Layout) snapshotRecord(guest, name string) string {
	return filepath.Join(l.SnapshotDir(guest), name+".json")
}

func (l Layout) saveSnapshotMachine(guest, name string, m *pastMachine) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := MakeDirs(l.SnapshotDir(guest), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(l.snapshotRecord(guest, name), b, 0o600)
}

// snapshotMachine reads it; nil where something else made the snapshot.
func (l Layout) snapshotMachine(guest, name string) (*pastMachine, error) {
	path := l.snapshotRecord(guest, name)
	text, err := smallfile.Read(path, maxArgv)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeMachine(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// decodeMachine reads a record. An older kvmctl wrote the command line alone.
func decodeMachine(text []byte) (*pastMachine, error) {
	m := &pastMachine{}
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		err = json.Unmarshal(text, &m.Argv)
	} else {
		err = json.Unmarshal(text, m)
	}
	if err != nil {
		return nil, err
	}
	if m.Memory < 0 || m.Memory > mostMemory || m.CPUs < 0 || m.CPUs > MostCPUs {
		return nil, fmt.Errorf("no guest had %v and %d CPUs", m.Memory, m.CPUs)
	}
	if _, err := sizeOf(m.Argv); err != nil {
		return nil, err
	}
	return m, nil
}

func (l Layout) forgetSnapshot(guest, name string) error {
	for _, path := range []string{l.snapshotRecord(guest, name), l.snapshotNVRAM(guest, name)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// snapshotNVRAM keeps the UEFI variables of the moment: they are a file of their own, which no image's snapshot holds.
func (l Layout) snapshotNVRAM(guest, name string) string {
	return filepath.Join(l.SnapshotDir(guest), name+".nvram")
}

// keepNVRAM copies a guest's UEFI variables for a snapshot. It comes before the images' part: a snapshot without its variables would
// be half a one, and a copy without its snapshot is overwritten by the next of that name. (A running guest may write a variable
// between the two; where its memory is loaded, the firmware's flash is in it, and QEMU writes that back.)
func (l Layout) keepNVRAM(spec *Spec, name string) error {
	if spec.Firmware != FirmwareUEFI || absent(l.NVRAM(spec.Name)) { // never started: it has none
		return nil
	}
	if err := MakeDirs(l.SnapshotDir(spec.Name), 0o700); err != nil {
		return err
	}
	if err := copyFile(l.snapshotNVRAM(spec.Name, name), l.NVRAM(spec.Name)); err != nil {
		return fmt.Errorf("keep the UEFI variables: %w", err)
	}
	return syncDir(l.SnapshotDir(spec.Name))
}

// turnBackNVRAM gives a guest that is off the UEFI variables of a snapshot; one that was made without them leaves them alone.
func (l Layout) turnBackNVRAM(spec *Spec, name string) error {
	from := l.snapshotNVRAM(spec.Name, name)
	if spec.Firmware != FirmwareUEFI || absent(from) {
		return nil
	}
	if err := copyFile(l.NVRAM(spec.Name), from); err != nil {
		return fmt.Errorf("turn back the UEFI variables: %w", err)
	}
	return syncDir(filepath.Dir(l.NVRAM(spec.Name)))
}

// CPUsChangedError says that a running guest cannot be turned back, because it had another number of CPUs then: to take one away is the
// guest's own affair, and to give it one would be to another system than the one that knows it.
type CPUsChangedError struct {
	Name      string
	Then, Now int
}

func (e *CPUsChangedError) Error() string {
	return fmt.Sprintf("it runs with %d CPUs, and had %d then", e.Now, e.Then)
}

// Hint says how both are had.
func (e *CPUsChangedError) Hint() string {
	return fmt.Sprintf("kvmctl set %s cpus=%d, or kvmctl stop %s; then the same again", e.Name, e.Then, e.Name)
}

// Refused marks the error as a refusal for safety.
func (e *CPUsChangedError) Refused() bool { return true }

// sameMachine refuses to turn a running guest back in another machine; a snapshot that something else made is QEMU's to judge.
func sameMachine(name string, then, now *pastMachine) error {
	if then == nil {
		return nil
	}
	if err := sameHardware(name, then.Argv, now.Argv); err != nil {
		return err
	}
	z, err := sizeOf(then.Argv)
	if err != nil {
		return err
	}
	if _, cpus := then.has(z); cpus != now.CPUs {
		return &CPUsChangedError{Name: name, Then: cpus, Now: now.CPUs}
	}
	return nil
}

// noteTurnedBack writes down what a guest has again that was turned back while it ran: its memory went with the snapshot.
func (h *Host) noteTurnedBack(ctx context.Context, c *qmp.Client, name string, then *pastMachine) error {
	rec, err := h.LoadRecord(name)
	if err != nil {
		return nil // an older kvmctl started it: there is nothing to keep true
	}
	live := &Running{}
	if err := (&prober{c: c, r: live}).memory(ctx); err != nil {
		return fmt.Errorf("ask for the memory: %w", err)
	}
	rec.Applied = *rec.Applied.sized(live.Wanted(), rec.Applied.CPUs)
	if then != nil {
		rec.Unseen = then.Unseen
	}
	return h.note(name, rec)
}
