package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"kvmctl/cmd/internal/doctor"
	"kvmctl/configs"
	"kvmctl/internal/flock"
	"kvmctl/vm"
	"kvmctl/vm/image"
)

// gatherGuests finds out about every guest that is configured, runs or has a history.
func (a *app) gatherGuests(ctx context.Context, s *configs.Site, h *vm.Host, f *doctor.Facts) error {
	names, err := h.Recorded()
	if err != nil {
		return err
	}
	for _, g := range s.Guests {
		names = append(names, g.Spec.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, st := range h.Status(ctx, names) {
		g := doctor.Guest{Name: st.Name, State: st.State, Note: st.Note, PID: st.PID, Memory: st.Memory, Owed: h.HooksOwed(st.Name)}
		if abi, err := vm.LoadABI(h.ABILock(st.Name)); err == nil {
			g.UID = h.UIDBase + abi.UID
		} else if !errors.Is(err, fs.ErrNotExist) {
			f.Files = append(f.Files, doctor.FileFault{Guest: st.Name, What: "ABI lock", Path: h.ABILock(st.Name), Why: err.Error(),
				Type: "restore it from a backup"})
		}
		if st.StateOf != nil {
			g.UID = st.StateOf.UID
		}
		if facts, err := h.Log(st.Name); err == nil && len(facts) > 0 {
			g.LastFact = facts[len(facts)-1].Time
		}
		if c, err := s.Guest(st.Name); err == nil {
			g.Configured, g.Broken = true, c.Broken
			g.Autostart = c.Spec.Autostart
			g.HugePages = slices.ContainsFunc(c.Spec.QEMUArgs, func(arg string) bool { return strings.Contains(arg, "hugepages") || strings.Contains(arg, "hugetlb") })
			if g.Memory == 0 && !c.Broken {
				g.Memory = c.Spec.Memory
			}
			g.MACs = a.macsOf(&c)
			f.Files = append(f.Files, guestFiles(&c)...)
		}
		if left, err := image.Leftovers(h.GuestLibDir(st.Name)); err == nil && len(left) > 0 {
			f.Unfinished = append(f.Unfinished, h.GuestLibDir(st.Name))
		}
		f.Guests = append(f.Guests, g)
	}
	f.StaleLocks = staleLocks(h.Layout, names)
	return nil
}

// staleLocks lists lock files of guests that nobody knows any more and nobody holds.
func staleLocks(l vm.Layout, names []string) []string {
	entries, _ := os.ReadDir(l.RunRoot()) // without it there is none
	var all []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(strings.TrimPrefix(e.Name(), "."), ".lock")
		path := filepath.Join(l.RunRoot(), e.Name())
		if !ok || path != l.GuestLock(name) || path == l.NetLock() || path == l.MountsLock() || configs.CheckName(name) != nil || slices.Contains(names, name) {
			continue
		}
		if lock, err := flock.TryLock(path); err == nil {
			lock.Unlock()
			all = append(all, path)
		}
	}
	return all
}

// guestFiles finds what a guest names and cannot use.
func guestFiles(g *configs.Guest) []doctor.FileFault {
	var all []doctor.FileFault
	add := func(what, key, path string, err error, typed string) {
		if err != nil && path != "" {
			all = append(all, doctor.FileFault{Guest: g.Spec.Name, What: what, Key: key, Path: path, Why: pathError(path, err), Type: typed})
		}
	}
	add("vm.toml", "", g.File, onlyRoots(g.File), "chown root: "+g.File+" && chmod go-w "+g.File)
	if g.Broken {
		return all // what is not read is not judged
	}
	s := &g.Spec
	for i, d := range s.Disks {
		size := "8G"
		if d.Size > 0 {
			size = d.Size.String()
		}
		add(fmt.Sprintf("disk.%d.image", i), fmt.Sprintf("disk[%d].image", i), d.Image, usableFile(d.Image), "kvmctl image create "+d.Image+" "+size)
	}
	for i, c := range s.CDROMs {
		add(fmt.Sprintf("cdrom.%d.image", i), fmt.Sprintf("cdrom[%d].image", i), c.Image, usableFile(c.Image), "correct image under [[cdrom]] in "+g.File)
	}
	add("kernel", "kernel", s.Kernel, usableFile(s.Kernel), "correct kernel in "+g.File)
	add("initrd", "initrd", s.Initrd, usableFile(s.Initrd), "correct initrd in "+g.File)
	add("vnc.password_file", "vnc.password_file", s.VNC.PasswordFile, usableFile(s.VNC.PasswordFile), "put a password of at most 8 characters into "+s.VNC.PasswordFile)
	for what, path := range hookPaths(s.Hooks) {
		if path != "" {
			add("hooks."+what, "hooks."+what, path, vm.HookAllowed(path), "ls -l "+path)
		}
	}
	slices.SortStableFunc(all, func(a, b doctor.FileFault) int { return strings.Compare(a.What, b.What) })
	return all
}

func hookPaths(k vm.Hooks) map[string]string {
	return map[string]string{"pre_start": k.PreStart, "post_start": k.PostStart, "pre_stop": k.PreStop, "post_stop": k.PostStop, "on_crash": k.OnCrash}
}

// hostFiles finds what kvmctl itself relies on and cannot, or should not.
func hostFiles(s *configs.Site) []doctor.FileFault {
	var all []doctor.FileFault
	add := func(what, path string, err error, typed string) {
		if err != nil {
			all = append(all, doctor.FileFault{What: what, Path: path, Why: pathError(path, err), Type: typed})
		}
	}
	if _, err := os.Lstat(s.HostFile); err == nil {
		add("kvm.toml", s.HostFile, onlyRoots(s.HostFile), "chown root: "+s.HostFile+" && chmod go-w "+s.HostFile)
	}
	qemu := usableFile(s.Host.QEMU)
	if qemu == nil {
		qemu = onlyRoots(s.Host.QEMU)
	}
	add("QEMU", s.Host.QEMU, qemu, "apt-get install qemu-system-x86, or correct qemu in kvm.toml")
	if self, err := os.Executable(); err == nil {
		add("kvmctl", self, onlyRoots(self), "chown root: "+self+" && chmod go-w "+self)
	}
	for what, path := range hookPaths(s.Host.Hooks) {
		if path != "" {
			add("hooks."+what, path, vm.HookAllowed(path), "ls -l "+path)
		}
	}
	slices.SortStableFunc(all, func(a, b doctor.FileFault) int { return strings.Compare(a.What, b.What) })
	return all
}

var errOthersWrite = errors.New("others than root may write to it, and so decide what root runs")

// onlyRoots refuses what somebody other than root may change.
func onlyRoots(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != 0 || st.Mode().Perm()&0o022 != 0 {
		return errOthersWrite
	}
	return nil
}

// usableFile wants a file or a block device.
func usableFile(path string) error {
	if path == "" {
		return nil
	}
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case st.Mode().IsRegular(), st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0:
		return nil
	}
	return errors.New("it is neither a file nor a block device")
}

// pathError words an error about a path, the path once.
func pathError(path string, err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return path + ": " + pe.Err.Error()
	}
	if text := err.Error(); strings.HasPrefix(text, path) {
		return text
	}
	return path + ": " + err.Error()
}
