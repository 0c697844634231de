package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvmctl/internal/units"
	"kvmctl/vm/image"
)

// Snapshot is a state of a guest that it can be turned back to, kept inside its images.
type Snapshot struct {
	Name    string
	Made    time.Time
	Memory  units.Size // of the guest's state, if it ran; 0: disks only
	Missing []string   // images of the guest's that do not have it: it cannot be restored
}

// NoSnapshotError says that a guest's disks cannot hold a snapshot.
type NoSnapshotError struct{ Why, hint string }

func (e *NoSnapshotError) Error() string { return e.Why }

// Hint says what to do.
func (e *NoSnapshotError) Hint() string { return e.hint }

// Refused marks the error as a refusal for safety.
func (e *NoSnapshotError) Refused() bool { return true }

// writable gives the places of a guest's disks that a snapshot has to hold. A raw disk can hold none, and a snapshot without it would be
// a lie: the guest would be turned back, and that disk would not.
func writable(spec *Spec) ([]int, error) {
	var disks []int
	for i, d := range spec.Disks {
		switch {
		case d.ReadOnly:
		case d.Format != image.QCOW2:
			return nil, &NoSnapshotError{fmt.Sprintf("disk %d (%s) is %s: only a qcow2 image can hold a snapshot", i, d.Image, d.Format),
				"kvmctl image convert " + d.Image + " NEW.qcow2, or readonly = true for that disk"}
		default:
			disks = append(disks, i)
		}
	}
	if len(disks) == 0 {
		return nil, &NoSnapshotError{"it has no disk to keep a snapshot in", "kvmctl save keeps what it does in a file"}
	}
	return disks, nil
}

// Snapshots lists what a guest can be turned back to, oldest first. It works while the guest runs.
func Snapshots(ctx context.Context, tool image.Tool, spec *Spec) ([]Snapshot, error) {
	disks, err := writable(spec)
	if err != nil {
		return nil, err
	}
	held := make([][]image.Snapshot, len(disks))
	paths := make([]string, len(disks))
	for i, d := range disks {
		paths[i] = spec.Disks[d].Image
		info, err := tool.Info(ctx, paths[i], image.QCOW2)
		if err != nil {
			return nil, err
		}
		held[i] = info.Snapshots
	}
	return together(paths, held), nil
}

// together makes one list of what the images hold.
func together(paths []string, held [][]image.Snapshot) []Snapshot {
	var all []Snapshot
	for i := range held {
		for _, s := range held[i] {
			k := slices.IndexFunc(all, func(x Snapshot) bool { return x.Name == s.Name })
			if k < 0 {
				all, k = append(all, Snapshot{Name: s.Name, Made: s.Made}), len(all)
			}
			all[k].Memory = max(all[k].Memory, s.State)
		}
	}
	for k := range all {
		for i := range held {
			if !slices.ContainsFunc(held[i], func(s image.Snapshot) bool { return s.Name == all[k].Name }) {
				all[k].Missing = append(all[k].Missing, paths[i])
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Snapshot) int { return a.Made.Compare(b.Made) })
	return all
}

// findSnapshot gives one by name, nil for none.
func findSnapshot(ctx context.Context, tool image.Tool, spec *Spec, name string) (*Snapshot, error) {
	all, err := Snapshots(ctx, tool, spec)
	if err != nil {
		return nil, err
	}
	if k := slices.IndexFunc(all, func(s Snapshot) bool { return s.Name == name }); k >= 0 {
		return &all[k], nil
	}
	return nil, nil
}

// CreateSnapshot keeps what a guest is: its disks and, if it runs, its memory. Made on all disks or on none; the guest goes on, whatever
// happens. memory tells whether it ran.
func (h *Host) CreateSnapshot(ctx context.Context, tool image.Tool, spec *Spec, name string) (memory bool, err error) {
	if err := CheckSnapshotName(name); err != nil {
		return false, err
	}
	err = h.WithLock(ctx, spec.Name, "snapshot", func(running bool) error {
		switch old, err := findSnapshot(ctx, tool, spec, name); {
		case err != nil:
			return err
		case old != nil:
			return &SnapshotExistsError{spec.Name, name}
		}
		if memory = running; running {
			return h.createOnline(ctx, tool, spec, name)
		}
		return h.createOffline(ctx, tool, spec, name)
	})
	return memory, err
}

func (h *Host) createOffline(ctx context.Context, tool image.Tool, spec *Spec, name string) error {
	disks, err := writable(spec)
	if err != nil {
		return err
	}
	if err := h.forgetSnapshot(spec.Name, name); err != nil { // what a killed kvmctl left of another of that name
		return err
	}
	if err := h.keepNVRAM(spec, name); err != nil {
		return err
	}
	for n, d := range disks {
		err := tool.SnapshotCreate(ctx, spec.Disks[d].Image, name)
		if err == nil {
			h.step("disk kept")
			continue
		}
		err = errors.Join(err, h.forgetSnapshot(spec.Name, name))
		for _, made := range disks[:n+1] { // also where it failed: a killed qemu-img may have made it
			path := spec.Disks[made].Image
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
			if has, herr := holdsSnapshot(undo, tool, path, name); herr == nil && has {
				err = errors.Join(err, tool.SnapshotDelete(undo, path, name))
			}
			cancel()
		}
		return err
	}
	return nil
}

// undoTime bounds the undoing of a snapshot on one disk.
const undoTime = time.Minute

func holdsSnapshot(ctx context.Context, tool image.Tool, path, name string) (bool, error) {
	info, err := tool.Info(ctx, path, image.QCOW2)
	return slices.ContainsFunc(info.Snapshots, func(s image.Snapshot) bool { return s.Name == name }), err
}

// RestoreOptions say how to turn a guest back.
type RestoreOptions struct {
	DisksOnly bool // boot from the disks later, as after a power cut, though the snapshot holds what the guest did
}

// RestoreSnapshot turns a guest back. One that runs goes on where the snapshot was made; so does one that is off, which is started, if the
// snapshot holds its memory: then started is set. It may be done again, and has to be where it was killed in the middle.
func (h *Host) RestoreSnapshot(ctx context.Context, tool image.Tool, spec *Spec, name string, o RestoreOptions) (started *Started, err error) {
	start := false
	err = h.WithLock(ctx, spec.Name, "snapshot", func(running bool) error {
		if err := h.CheckHold(spec.Name); err != nil {
			return err
		}
		s, err := findSnapshot(ctx, tool, spec, name)
		if err != nil {
			return err
		}
		how, err := howToRestore(spec.Name, name, s, running, h.SavedIn(spec.Name), o)
		if err != nil {
			return err
		}
		switch how {
		case restoreOnline:
			return h.loadOnline(ctx, spec, name)
		case restoreByStart:
			start = true
			return nil
		}
		disks, err := writable(spec)
		if err != nil {
			return err
		}
		for _, d := range disks {
			// Not cut short by ^C: a guest with one disk turned back and another not is worth nothing.
			if err := tool.SnapshotApply(context.WithoutCancel(ctx), spec.Disks[d].Image, name); err != nil {
				return err
			}
			h.step("disk turned back")
		}
		return h.turnBackNVRAM(spec, name)
	})
	if err != nil || !start {
		return nil, err
	}
	return h.StartFrom(ctx, spec, Origin{Snapshot: name})
}

type restoreHow int

const (
	restoreDisks restoreHow = iota
	restoreOnline
	restoreByStart
)

// howToRestore decides what turning back means.
func howToRestore(guest, name string, s *Snapshot, running bool, savedIn string, o RestoreOptions) (restoreHow, error) {
	switch {
	case s == nil:
		return 0, &UnknownSnapshotError{guest, name}
	case len(s.Missing) > 0:
		return 0, &NoSnapshotError{"the snapshot is not on all disks: " + strings.Join(s.Missing, ", ") + " has it not",
			"kvmctl snapshot delete " + guest + " " + name}
	case running && (s.Memory == 0 || o.DisksOnly):
		return 0, &NoSnapshotError{"it runs, and its disks cannot be turned back under it", "kvmctl stop " + guest}
	case running:
		return restoreOnline, nil
	case savedIn != "":
		return 0, &NoSnapshotError{"it is saved in " + savedIn + ", which would be lost", "kvmctl start " + guest + " goes on there, --discard-saved throws it away"}
	case s.Memory > 0 && !o.DisksOnly:
		return restoreByStart, nil
	}
	return restoreDisks, nil
}

// DeleteSnapshot removes a snapshot from all disks that have it.
func (h *Host) DeleteSnapshot(ctx context.Context, tool image.Tool, spec *Spec, name string) error {
	return h.WithLock(ctx, spec.Name, "snapshot", func(running bool) error {
		s, err := findSnapshot(ctx, tool, spec, name)
		if err != nil {
			return err
		}
		if s == nil {
			return &UnknownSnapshotError{spec.Name, name}
		}
		disks, err := writable(spec)
		if err != nil {
			return err
		}
		if running {
			err = h.deleteOnline(ctx, spec, name)
		} else {
			for _, d := range disks {
				if path := spec.Disks[d].Image; !slices.Contains(s.Missing, path) {
					err = errors.Join(err, tool.SnapshotDelete(ctx, path, name))
					h.step("disk without")
				}
			}
		}
		if err != nil {
			return err
		}
		return h.forgetSnapshot(spec.Name, name)
	})
}
