package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// settle finds out whether the guest runs. If not, or if its start was never finished, it clears away what is left of it.
// The caller holds the guest's lock.
func (h *Host) settle(ctx context.Context, name string) (*Process, error) {
	p, err := h.owner(name)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return nil, err
	}
	unfinished := exists(h.run(name, startingName))
	if unfinished && h.letGo(name) {
		unfinished = false // the starter was killed between its last two acts
		if err := os.Remove(h.run(name, startingName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			if p != nil {
				p.Close()
			}
			return nil, fmt.Errorf("finish a start: %w", err)
		}
	}
	if p != nil && !unfinished {
		return p, nil
	}
	if p != nil {
		p.Close()
	}
	st, err := h.loadState(name)
	if unfinished {
		uid := 0
		if err == nil {
			uid = st.UID
		} else if abi, err := loadABI(h.ABILock(name)); err == nil && abi != nil {
			uid = h.UIDBase + abi.UID
		}
		if uid > 0 {
			if err := killAll(uid); err != nil {
				return nil, fmt.Errorf("end an unfinished start: %w", err)
			}
		}
	}
	if !exists(h.RunDir(name)) {
		return nil, nil
	}
	return nil, h.bury(name, unfinished)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
