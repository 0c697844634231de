package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"kvmctl/vm/qmp"
)

// Compare tells how a guest's file differs from its last start and from what runs. Nothing is changed.
func (h *Host) Compare(ctx context.Context, file *Spec) (changes []Change, running bool, err error) {
	x, err := h.examine(ctx, file)
	if err != nil {
		return nil, false, err
	}
	defer x.close()
	return x.plan, x.live != nil, nil
}

// examined is a guest as far as a comparison needs it.
type examined struct {
	rec    *Record
	abi    *ABI // as it is on disk
	pinned *ABI
	live   *Running
	plan   []Change
	mon    *qmp.Client
	close  func()
}

// examine gathers what Plan compares. The monitor stays open until close.
func (h *Host) examine(ctx context.Context, file *Spec) (*examined, error) {
	x := &examined{close: func() {}}
	var err error
	if x.rec, err = h.LoadRecord(file.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if x.abi, err = loadABI(h.ABILock(file.Name)); err != nil {
		return nil, err
	}
	proc, err := h.owner(file.Name)
	switch {
	case errors.Is(err, ErrNotRunning) && (x.rec == nil || x.abi == nil):
		return x, nil // never started: there is nothing to compare with
	case errors.Is(err, ErrNotRunning):
		pinned, err := Pin(x.abi, file, x.abi.Machine, x.abi.UUID)
		if err != nil {
			return nil, err
		}
		x.pinned, x.plan = &pinned, Plan(file, &pinned, x.rec, nil)
		return x, nil
	case err != nil:
		return nil, err
	}
	defer proc.Close()
	if err := h.Finished(file.Name); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(h.run(file.Name, recordName)); err != nil || x.abi == nil {
		return nil, ErrNoRecord
	}
	if x.mon, x.close, err = h.Monitor(ctx, file.Name); err != nil {
		return nil, err
	}
	if x.live, err = probe(ctx, x.mon, proc.PID, imagesOf(file, &x.rec.Applied)); err == nil {
		x.pinned, err = pinLive(x.abi, file, x.live)
	}
	if err != nil {
		x.close()
		return nil, err
	}
	x.rec.reconcile(file, x.pinned, x.live)
	x.plan = Plan(file, x.pinned, x.rec, x.live)
	return x, nil
}

// pinLive is PinLive; where the root ports do not suffice, the places of the next start.
func pinLive(abi *ABI, file *Spec, live *Running) (*ABI, error) {
	pinned, err := PinLive(abi, file, live)
	var full *NoPortError
	if errors.As(err, &full) {
		pinned, err = Pin(abi, file, abi.Machine, abi.UUID)
	}
	return &pinned, err
}

func imagesOf(specs ...*Spec) []string {
	var all []string
	for _, s := range specs {
		for _, d := range s.Disks {
			all = append(all, d.Image)
		}
		for _, c := range s.CDROMs {
			if c.Image != "" {
				all = append(all, c.Image)
			}
		}
	}
	return all
}
