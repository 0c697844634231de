package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// check refuses what could not be restored, before the guest is touched.
func (s *saving) check(ctx context.Context) error {
	st, err := s.h.loadState(s.spec.Name)
	if err != nil {
		return err
	}
	s.plan = savePlan{File: s.o.File, Run: st.Run}
	if s.plan.File == "" {
		s.plan.File = s.h.SavedState(s.spec.Name)
	} else if _, err := os.Lstat(s.plan.File); err == nil {
		return &UnsavableError{s.plan.File + " is there already", "name another file"}
	}
	c, closeMonitor, err := s.h.Monitor(ctx, s.spec.Name)
	if err != nil {
		return err
	}
	defer closeMonitor()
	was, err := queryStatus(ctx, c)
	if err != nil {
		return err
	}
	if was != "running" && was != "paused" {
		return &UnsavableError{"it stands still (" + was + ")", "kvmctl status " + s.spec.Name}
	}
	past, now, _, err := s.h.presentMachine(ctx, c, s.spec)
	if err != nil {
		return err
	}
	s.files = s.h.diskFiles(s.spec, now.Wiring)
	s.header = SavedHeader{Version: savedVersion, Guest: s.spec.Name, By: s.h.By, QEMU: st.QEMU, Memory: past.Memory, CPUs: past.CPUs,
		Unseen: past.Unseen, ABI: now.ABI, Argv: past.Argv}
	if s.limit, err = footprint(s.p.PID); err != nil {
		return err
	}
	return enoughRoom(filepath.Dir(s.plan.File), s.limit)
}

// footprint is the most that a guest's state can become: what its QEMU has in memory. A page that the guest never touched takes nothing.
func footprint(pid int) (units.Size, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("measure the guest: %w", err)
	}
	var total units.Size
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[0] == "VmRSS:" || f[0] == "VmSwap:") && f[2] == "kB" {
			var kib int64
			if _, err := fmt.Sscan(f[1], &kib); err != nil {
				return 0, fmt.Errorf("measure the guest: %w", err)
			}
			total += units.Size(kib) * units.KiB
		}
	}
	return total, nil
}

// enoughRoom leaves a little to others.
func enoughRoom(dir string, need units.Size) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("measure the room in %s: %w", dir, err)
	}
	if free := units.Size(st.Bavail) * units.Size(st.Frsize); free < need {
		return &NoSpaceError{Dir: dir, Need: need, Free: free}
	}
	return nil
}
