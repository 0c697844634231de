package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/flock"
)

// savePlan is kept in the run directory while a guest is saved, for the command that comes after a killed one.
type savePlan struct {
	File string `json:"file"`
	Run  string `json:"run"`
}

// part is the file's name until the guest is in it.
func (p savePlan) part() string { return p.File + ".part" }

func (l Layout) savePlan(name string, p savePlan) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(l.run(name, savingName), b, 0o600)
}

func (l Layout) loadSavePlan(name string) (p savePlan, err error) {
	b, err := os.ReadFile(l.run(name, savingName))
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(b, &p)
}

// finishSave makes the file of a guest that QEMU has given up the guest's state, and ends that QEMU. Each step may be done already: a save
// that was killed is finished here by the next command.
func (h *Host) finishSave(ctx context.Context, name string, p *Process, plan savePlan) error {
	if err := os.Rename(plan.part(), plan.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put the saved guest in its place: %w", err)
	}
	if err := syncDir(filepath.Dir(plan.File)); err != nil {
		return err
	}
	if place := h.SavedState(name); plan.File != place {
		if err := link(plan.File, place); err != nil {
			return fmt.Errorf("note where the guest is saved: %w", err)
		}
	}
	h.step("in place")
	run, _ := factsOf(h.recent(name, maxFact), plan.Run)
	if !slices.ContainsFunc(run, func(f Fact) bool { return f.Kind == KindSave }) {
		fact := Fact{Time: time.Now(), Run: plan.Run, Kind: KindSave, Reason: "to " + plan.File, By: h.By}
		if err := h.appendFacts(name, h.HistorySize, true, fact); err != nil {
			return err
		}
	}
	h.step("noted")
	if err := h.endSaved(ctx, name, p); err != nil {
		return err
	}
	if err := h.gone(ctx, name); err != nil {
		return err
	}
	return h.bury(name, false)
}

// endSaved ends a QEMU without a guest in it.
func (h *Host) endSaved(ctx context.Context, name string, p *Process) error {
	if c, closeMonitor, err := h.Monitor(ctx, name); err == nil {
		_ = c.Execute(ctx, "quit", nil, nil) // the signals come anyway
		closeMonitor()
		if p.waitPlain(rungTime) {
			return nil
		}
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := p.Signal(sig); err != nil {
			return err
		}
		if p.waitPlain(rungTime) {
			return nil
		}
	}
	return &StuckError{PID: p.PID}
}

// settleSave ends what a killed save left: where QEMU has given the guest up the save is finished, elsewhere undone. It tells whether the
// guest still runs. The caller holds the guest's lock, so nobody else is at it.
func (h *Host) settleSave(ctx context.Context, name string, p *Process) (runs bool, err error) {
	plan, err := h.loadSavePlan(name)
	if err != nil {
		return true, fmt.Errorf("read what a save has left: %w", err)
	}
	asking, cancel := context.WithTimeout(ctx, backTime)
	defer cancel()
	for h.migrates(asking, name) && asking.Err() == nil {
		pause(asking, 5*time.Millisecond)
	}
	c, closeMonitor, err := h.Monitor(ctx, name)
	if err != nil {
		return true, nil // it does not answer: whoever comes later finds all this again
	}
	state, err := queryStatus(ctx, c)
	if err == nil && state != "postmigrate" {
		_ = setReturnPath(ctx, c, false)
	}
	closeMonitor()
	switch {
	case err != nil:
		return true, nil
	case state != "postmigrate":
		return true, h.dropSave(name, plan)
	}
	for _, file := range []string{plan.part(), plan.File} {
		if _, err := ReadSaved(file); err == nil {
			return false, h.finishSave(ctx, name, p, plan)
		}
	}
	return true, nil // the file is gone, the guest is not: resume lets it go on
}

// dropSave removes what an unfinished save left.
func (h *Host) dropSave(name string, plan savePlan) error {
	if err := os.Remove(plan.part()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an unfinished save: %w", err)
	}
	return os.Remove(h.run(name, savingName))
}

// migrates tells whether QEMU is busy with giving the guest away, or with taking it back.
func (h *Host) migrates(ctx context.Context, name string) bool {
	c, closeMonitor, err := h.Monitor(ctx, name)
	if err != nil {
		return false
	}
	defer closeMonitor()
	var m struct{ Status string }
	if c.Execute(ctx, "query-migrate", nil, &m) != nil {
		return false
	}
	return slices.Contains([]string{"setup", "active", "device", "cancelling", "pre-switchover", "wait-unplug"}, m.Status)
}

// link makes place a symbolic link to file, whatever link was there.
func link(file, place string) error {
	tmp := place + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(file, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, place); err != nil {
		return err
	}
	return syncDir(filepath.Dir(place))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// openPart makes the unfinished file, or takes over what a killed save left; nothing else is overwritten.
func openPart(path string) (*flock.Lock, error) {
	if st, err := os.Lstat(path); err == nil {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		magic := make([]byte, len(savedMagic))
		n, _ := f.ReadAt(magic, 0)
		if !st.Mode().IsRegular() || st.Size() > 0 && string(magic[:n]) != savedMagic {
			return nil, &ForeignError{path, "is in the way, and not an unfinished save"}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := flock.TryLock(path)
	if errors.Is(err, flock.ErrLocked) {
		return nil, &UnsavableError{"another guest is being saved to that file", "name another file"}
	}
	return l, err
}
