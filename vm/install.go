package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"kvmctl/vm/qmp"
)

// InstallStage is how far an installation is.
type InstallStage string

// The stages of an installation.
const (
	InstallNone    InstallStage = ""        // there was none
	InstallRuns    InstallStage = "runs"    // the CD was booted, and runs
	InstallBooted  InstallStage = "booted"  // the guest was reset since, and boots from its disk
	InstallEnded   InstallStage = "ended"   // the guest ended by itself: the next start boots its disk
	InstallStopped InstallStage = "stopped" // it was ended by others: whether the disk is whole nobody knows
)

// Installation is what the history knows of a guest's last installation.
type Installation struct {
	Stage  InstallStage
	CD     string
	Since  time.Time // of the stage
	Reason string    // of the end
}

// note words an installation for the status of a guest that runs.
func (in Installation) note() string {
	switch in.Stage {
	case InstallRuns:
		return "installs from " + filepath.Base(in.CD) + "; its next boot is from disk"
	case InstallBooted:
		return "installed from " + filepath.Base(in.CD)
	}
	return ""
}

// lastBootIndex is behind every disk, network card and CD drive.
const lastBootIndex = 255

// withCD gives a guest that boots from a CD of its own first.
func withCD(spec *Spec, cd string) *Spec {
	s := *spec
	s.CDROMs = append([]CDROM{{Image: cd}}, spec.CDROMs...)
	s.Boot = []BootDevice{BootCDROM}
	for _, b := range spec.Boot {
		if b != BootCDROM {
			s.Boot = append(s.Boot, b)
		}
	}
	if !slices.Contains(s.Boot, BootDisk) {
		s.Boot = append(s.Boot, BootDisk)
	}
	return &s
}

// bootOnce puts the CD behind the disks for every boot but the one that comes now: the firmware's list was made when the machine was, and
// is made anew at each reset (hw/nvram/fw_cfg.c, fw_cfg_machine_reset). So nobody has to be awake when the installer reboots.
func (s *starting) bootOnce(ctx context.Context) error {
	args := map[string]any{"path": "/machine/peripheral/cd0", "property": "bootindex", "value": lastBootIndex}
	if err := s.mon.Execute(ctx, "qom-set", args, nil); err != nil {
		return fmt.Errorf("put the CD behind the disks: %w", err)
	}
	return nil
}

// Install tells how far a guest's last installation is.
func (h *Host) Install(ctx context.Context, name string) Installation {
	st := h.Status(ctx, []string{name})[0] // notices an end
	facts := h.recent(name, 1<<20)
	return installation(facts, st.PID > 0)
}

// installation reads a history; runs tells whether a QEMU runs for the guest.
func installation(facts []Fact, runs bool) Installation {
	var in Installation
	run := ""
	for _, f := range facts {
		if f.Kind == KindInstall {
			in, run = Installation{Stage: InstallRuns, CD: f.Reason, Since: f.Time}, f.Run
		}
	}
	if in.Stage == InstallNone {
		return in
	}
	of, end := factsOf(facts, run)
	asked := false
	for _, f := range of {
		switch {
		case f.Kind == KindEvent && f.Event == "RESET" && in.Stage == InstallRuns && f.Time.After(in.Since):
			in.Stage, in.Since = InstallBooted, f.Time
		case f.Kind == KindStop:
			asked = true
		}
	}
	switch {
	case end != nil && in.Stage == InstallRuns:
		in.Stage, in.Since, in.Reason = InstallEnded, end.Time, end.Reason
		if asked || end.State != StateStopped || !guestShutDown(of) {
			in.Stage = InstallStopped
		}
	case end == nil && !runs && in.Stage == InstallRuns:
		in.Stage = InstallStopped
	}
	return in
}

// guestShutDown tells whether a run ended because the guest wanted it to.
func guestShutDown(run []Fact) bool {
	by := false
	for _, f := range run {
		var s shutdown
		if f.Kind == KindEvent && f.Event == "SHUTDOWN" && json.Unmarshal(f.Data, &s) == nil {
			by = s.Guest && s.Reason == "guest-shutdown"
		}
	}
	return by
}

// installEvery is how often a running installation is looked at.
const installEvery = 500 * time.Millisecond

// AwaitInstall waits until the guest that boots a CD is reset or ends, and then takes the CD out. At ctx's end the error is ctx's.
func (h *Host) AwaitInstall(ctx context.Context, name string) (Installation, error) {
	p, err := h.owner(name)
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return Installation{}, err
	}
	if p != nil {
		defer p.Close()
	}
	for p != nil && !p.Wait(ctx, installEvery) {
		if err := ctx.Err(); err != nil {
			return installation(h.recent(name, 1<<20), true), err
		}
		if err := h.Harvest(name); err != nil {
			return Installation{}, err
		}
		if in := installation(h.recent(name, 1<<20), true); in.Stage == InstallBooted {
			h.step("reset seen")
			return in, h.EjectCD(ctx, name)
		}
	}
	return h.Install(ctx, name), nil
}

// EjectCD takes the CD out that a guest was installed from. An empty drive is left so.
func (h *Host) EjectCD(ctx context.Context, name string) error {
	return h.visit(ctx, name, "eject", func(c *qmp.Client, _ string) error {
		err := c.Execute(ctx, "eject", map[string]any{"id": "cd0", "force": true}, nil)
		var refused *qmp.Error
		if errors.As(err, &refused) && refused.Class == "DeviceNotFound" {
			return nil
		}
		return err
	})
}
