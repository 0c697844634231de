package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvmctl/vm/qmp"
)

// trayTime is how long a guest may take to open a tray that it has locked.
const trayTime = 5 * time.Second

// LockedDiscError says that the guest does not give a disc out.
type LockedDiscError struct{ Name string }

func (*LockedDiscError) Error() string { return "the guest has locked the drive: the disc is mounted" }

// Hint says what comes first.
func (e *LockedDiscError) Hint() string {
	return "eject it inside the guest; or kvmctl set " + e.Name + " --force, and it loses what it reads from there"
}

// Refused marks the error as a refusal for safety.
func (*LockedDiscError) Refused() bool { return true }

// changeDisc takes a disc out of a drive and puts another in, or none.
func (e *executor) changeDisc(ctx context.Context, o *Outcome) (err error) {
	cd := e.live.CDROMs[slices.IndexFunc(e.live.CDROMs, func(x RunningCD) bool { return x.ID == o.id })]
	image := e.file.CDROMs[o.at].Image
	var undo undoer
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	node := ""
	if image != "" { // opened first: a file that is none leaves the old disc where it is
		for n := 0; node == "" || slices.Contains(cd.Nodes, node); n++ {
			node = fmt.Sprintf("%s.%d", o.id, n)
		}
		if err := e.addImage(ctx, &undo, node, Layer{Path: image, Format: "raw"}, Disk{}, true, nil); err != nil {
			return err
		}
	}
	drive := map[string]any{"id": o.id}
	open, err := waitFor(ctx, trayTime, func(ctx context.Context) (bool, error) {
		err := e.mon.Execute(ctx, "blockdev-open-tray", map[string]any{"id": o.id, "force": e.force}, nil)
		if refused := new(qmp.Error); errors.As(err, &refused) {
			return false, nil // locked: QEMU has pressed the button, the guest may open it
		}
		if err != nil {
			return false, err
		}
		var devices []blockDevice
		if err := e.mon.Execute(ctx, "query-block", nil, &devices); err != nil {
			return false, err
		}
		return slices.ContainsFunc(devices, func(d blockDevice) bool { return d.id() == o.id && d.Open }), nil
	})
	if err != nil {
		return fmt.Errorf("open the tray: %w", err)
	}
	if !open {
		return &LockedDiscError{e.name}
	}
	if cd.Image != "" {
		if err := e.mon.Execute(ctx, "blockdev-remove-medium", drive, nil); err != nil {
			return fmt.Errorf("take the disc out: %w", err)
		}
	}
	for _, n := range cd.Nodes {
		e.drop("blockdev-del", map[string]any{"node-name": n})
	}
	for _, set := range cd.Sets {
		e.drop("remove-fd", map[string]any{"fdset-id": set})
	}
	e.setDisc(o.at, "")
	if image == "" {
		return nil // the tray stays open, as after an eject inside
	}
	if err := e.mon.Execute(ctx, "blockdev-insert-medium", map[string]any{"id": o.id, "node-name": node}, nil); err != nil {
		return fmt.Errorf("put the disc in: %w", err)
	}
	undo = nil
	e.setDisc(o.at, image)
	if err := e.mon.Execute(ctx, "blockdev-close-tray", drive, nil); err != nil {
		return fmt.Errorf("close the tray: %w", err)
	}
	return nil
}

func (e *executor) setDisc(i int, image string) {
	if i < len(e.rec.Applied.CDROMs) {
		e.rec.Applied.CDROMs = slices.Clone(e.rec.Applied.CDROMs)
		e.rec.Applied.CDROMs[i].Image = image
	}
}
