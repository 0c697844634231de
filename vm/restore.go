package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"kvmctl/internal/units"
	"kvmctl/vm/qmp"
)

// Origin says where a guest begins.
type Origin struct {
	File     string                       // go on from this saved guest; empty: from the guest's own saved state, if there is one
	CD       string                       // boot this CD once, before the disks; absolute
	Snapshot string                       // go on from this snapshot, which holds the guest's memory
	Discard  bool                         // boot, and throw the guest's own saved state away
	Progress func(done, total units.Size) // of the loading; may be nil
}

// pastState is what a guest goes on from.
type pastState struct {
	name     string // of the file, for people
	f        *os.File
	header   *SavedHeader
	machine  *pastMachine // nil: something else made that snapshot, and QEMU has to judge whether it fits
	snapshot string       // instead of the file; empty: none
	progress func(done, total units.Size)
}

func (b *pastState) close() {
	if b != nil && b.f != nil {
		b.f.Close()
	}
}

// argv is the command line of the machine that the state fits; nil: none is known.
func (b *pastState) argv() []string {
	if b == nil || b.machine == nil {
		return nil
	}
	return b.machine.Argv
}

func (b *pastState) word() string {
	if b == nil {
		return ""
	}
	return "restored from " + b.name
}

// NotRestorableError says that a saved state of a guest does not fit, and how to do without it.
type NotRestorableError struct {
	Name string // of the guest
	File string
	Err  error
}

func (e *NotRestorableError) Error() string {
	return fmt.Sprintf("what was saved in %s cannot be restored: %v", e.File, e.Err)
}
func (e *NotRestorableError) Unwrap() error { return e.Err }

// Hint is the cause's own, and the way without the state.
func (e *NotRestorableError) Hint() string {
	without := "`kvmctl start " + e.Name + " --discard-saved` boots it, as after a power cut"
	var changed *ChangedError
	if errors.As(e.Err, &changed) {
		return changed.Hint() + "; " + without
	}
	return without
}

// Refused marks the error as a refusal for safety.
func (e *NotRestorableError) Refused() bool { return true }

// OtherGuestError says that a saved guest is another one.
type OtherGuestError struct{ Name string }

func (e *OtherGuestError) Error() string { return "it is " + e.Name + ", or a guest of that name" }

// SavedIn gives the file that a guest is saved in; empty: it is not saved.
func (l Layout) SavedIn(name string) string {
	place := l.SavedState(name)
	to, err := os.Readlink(place)
	switch {
	case err == nil:
		return to
	case errors.Is(err, fs.ErrNotExist):
		return ""
	}
	return place // a plain file: EINVAL (readlink(2))
}

// origin finds what a start goes on from; nil: the guest boots.
func (h *Host) origin(spec *Spec, from Origin) (*pastState, error) {
	file := from.File
	if from.Snapshot != "" {
		then, err := h.snapshotMachine(spec.Name, from.Snapshot)
		if err != nil {
			return nil, err
		}
		return &pastState{name: "snapshot " + from.Snapshot, snapshot: from.Snapshot, machine: then}, nil
	}
	if from.CD != "" && !from.Discard && h.SavedIn(spec.Name) != "" {
		return nil, &NotRestorableError{spec.Name, h.SavedIn(spec.Name), errors.New("a CD is to be booted")}
	}
	if file == "" {
		if file = h.SavedIn(spec.Name); file == "" || from.Discard {
			return nil, nil
		}
	}
	b := &pastState{name: file, progress: from.Progress}
	var err error
	if b.f, b.header, err = openSaved(file); err == nil {
		b.machine = &pastMachine{Argv: b.header.Argv, Memory: b.header.Memory, CPUs: b.header.CPUs, Unseen: b.header.Unseen}
		_, err = sizeOf(b.header.Argv)
	}
	if err != nil {
		b.close()
		return nil, &NotRestorableError{spec.Name, file, err}
	}
	return b, nil
}

// fits refuses what does not fit the machine that was prepared for it, and readies that for it.
func (h *Host) fits(spec *Spec, p *Prepared, b *pastState) error {
	switch {
	case b == nil:
		return nil
	case b.snapshot != "" && b.machine != nil:
		return sameHardware(spec.Name, b.machine.Argv, p.Argv)
	case b.snapshot != "":
		return nil
	}
	if err := h.savedFits(spec, p, b.header); err != nil {
		return &NotRestorableError{spec.Name, b.name, err}
	}
	p.Argv = append(p.Argv, "-incoming", "defer")
	return nil
}

// savedFits refuses a state that another machine was in, or whose disks moved on without it.
func (h *Host) savedFits(spec *Spec, p *Prepared, saved *SavedHeader) error {
	if saved.Guest != spec.Name || saved.ABI.UUID != p.ABI.UUID {
		return &OtherGuestError{saved.Guest}
	}
	if err := sameHardware(spec.Name, saved.Argv, p.Argv); err != nil {
		return err
	}
	now, err := stateOfDisks(h.diskFiles(spec, p.Wiring))
	if err != nil {
		return err
	}
	return sameDisks(saved.Disks, now)
}

// notStarted says what a guest is after a start that came to nothing: what was saved is saved still.
func (l Layout) notStarted(name, why string) (StateWord, string) {
	if file := l.SavedIn(name); file != "" {
		return StateSaved, "saved to " + file + "; " + why
	}
	return StateStopped, why
}

// consumeSaved forgets a guest's saved state: the file, or, where the admin named one, only that it is there.
func (l Layout) consumeSaved(name string) error {
	if err := os.Remove(l.SavedState(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// loadMemory fills the machine, which stands still, with what the guest goes on from.
func (s *starting) loadMemory(ctx context.Context) error {
	b := s.before
	if b == nil {
		return nil
	}
	if b.machine != nil && b.machine.CPUs > 0 {
		if err := growCPUs(ctx, s.mon, b.machine.CPUs); err != nil {
			return err
		}
	}
	if b.snapshot != "" {
		nodes, err := snapshotNodes(s.spec)
		if err != nil {
			return err
		}
		return loadSnapshot(ctx, s.mon, s.spec.Name, b.snapshot, nodes)
	}
	if err := setReturnPath(ctx, s.mon, true); err != nil {
		return err
	}
	conn, err := migrationSocket(ctx, s.mon, "kvmctl-restore")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := s.mon.Execute(ctx, "migrate-incoming", map[string]any{"uri": "fd:kvmctl-restore"}, nil); err != nil {
		return fmt.Errorf("begin to restore: %w", err)
	}
	progress := func(done units.Size) {
		if b.progress != nil {
			b.progress(done, units.Size(b.header.Size))
		}
	}
	crc, err := send(ctx, conn, io.NewSectionReader(b.f, savedStart, b.header.Size), progress)
	if err != nil {
		return &LoadError{b.name, err}
	}
	if crc != b.header.CRC {
		return &NoSavedError{b.name, "its content is damaged"}
	}
	return loaded(ctx, s.mon)
}

// LoadError says that QEMU did not take a saved guest.
type LoadError struct {
	File string
	Err  error
}

func (e *LoadError) Error() string { return fmt.Sprintf("load %s: %v", e.File, e.Err) }
func (e *LoadError) Unwrap() error { return e.Err }

// loadedTime is how long QEMU may take from its word that all is loaded to a machine that can be let go: some milliseconds.
const loadedTime = 10 * time.Second

// loaded waits until QEMU has left the migration.
func loaded(ctx context.Context, c *qmp.Client) error {
	ctx, cancel := context.WithTimeout(ctx, loadedTime)
	defer cancel()
	for {
		state, err := queryStatus(ctx, c)
		switch {
		case err != nil:
			return err
		case state == "paused":
			return nil
		case state != "inmigrate":
			return fmt.Errorf("QEMU is %q after the load", state)
		}
		if pause(ctx, 2*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("QEMU does not end the load: %w", ctx.Err())
		}
	}
}
