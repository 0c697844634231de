package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"kvmctl/internal/flock"
)

// settle finds out whether the guest runs. If not, or if its start was never finished, it clears away what is left of it.
// The caller holds the guest's lock.
func (h *Host) settle(ctx context.Context, name string) (*Process, error) {
	p, err := h.owner(name)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return nil, err
	}
	unfinished := exists(h.run(name, startingName))
	if unfinished {
		if unfinished, err = h.unfinished(name); err != nil {
			if p != nil {
				p.Close()
			}
			return nil, err
		}
	}
	if p != nil && !unfinished {
		if !exists(h.run(name, savingName)) {
			return p, nil
		}
		runs, err := h.settleSave(ctx, name, p)
		if err != nil || !runs {
			p.Close()
			return nil, err
		}
		return p, nil
	}
	if p != nil {
		p.Close()
	}
	if unfinished {
		if err := h.endUnfinished(ctx, name); err != nil {
			return nil, fmt.Errorf("end an unfinished start: %w", err)
		}
	}
	if !exists(h.RunDir(name)) {
		return nil, nil
	}
	if plan, err := h.loadSavePlan(name); err == nil { // QEMU was killed while the guest was saved: what is there of it is of no use
		if err := h.dropSave(name, plan); err != nil {
			return nil, err
		}
	}
	return nil, h.bury(name, unfinished)
}

// unfinished tells whether a guest with the mark of a start was never let go. One whose starter was killed between its last two acts,
// the guest's release and the mark's removal, runs: only the mark is removed.
func (h *Host) unfinished(name string) (bool, error) {
	ran, err := h.letGo(name)
	if err != nil {
		return false, fmt.Errorf("learn whether a start was finished: %w", err)
	}
	if !ran {
		return true, nil
	}
	if st, err := h.loadState(name); err == nil && st.Restored != "" {
		if err := h.consumeSaved(name); err != nil {
			return false, fmt.Errorf("finish a start: %w", err)
		}
	}
	if err := os.Remove(h.run(name, startingName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("finish a start: %w", err)
	}
	return false, nil
}

// execTime is how long a forked child may take to become QEMU: some milliseconds.
const execTime = 5 * time.Second

// endUnfinished ends what a killed kvmctl started and did not let go. First it waits for the child, which is root's until it becomes
// QEMU and holds the marker's lock as long.
func (h *Host) endUnfinished(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, execTime)
	defer cancel()
	l, err := flock.Wait(ctx, h.run(name, startingName))
	if err != nil {
		return fmt.Errorf("wait until its child is QEMU: %w", err)
	}
	defer l.Unlock()
	uid := 0
	if st, err := h.loadState(name); err == nil {
		uid = st.UID
	} else if abi, err := loadABI(h.ABILock(name)); err == nil && abi != nil {
		uid = h.UIDBase + abi.UID
	}
	if uid == 0 {
		return nil // it never had one
	}
	return killAll(uid, h.run(name, conDirName, stderrName))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
