package doctor

import (
	"fmt"
	"slices"
	"time"

	"kvmctl/internal/units"
	"kvmctl/vm"
	"kvmctl/vm/accel"
)

func judgeKVM(f *Facts, r *report) {
	v := f.KVM.Verdict
	took := v.Took.Round(10 * time.Microsecond)
	switch {
	case v.Usable:
		r.ok("%s runs a guest: 1,000,000 turns in %v", f.KVM.Device, took)
	case v.Cause == accel.Slow:
		r.add(Warning, f.KVM.Device, `accel = "tcg" in vm.toml, or another host`, "guests run by emulation: %s; it was stopped after %v", v.Reason, took)
	case v.Cause == accel.Missing && f.KVM.Flags.VMX:
		r.add(Warning, f.KVM.Device, "modprobe kvm_intel", "guests run by emulation: %s, but the CPU has vmx", v.Reason)
	case v.Cause == accel.Missing && f.KVM.Flags.SVM:
		r.add(Warning, f.KVM.Device, "modprobe kvm_amd", "guests run by emulation: %s, but the CPU has svm", v.Reason)
	case v.Cause == accel.Missing && f.KVM.Flags.Hypervisor:
		r.add(Warning, f.KVM.Device, "on the host of this machine: allow nesting and give it the host's CPU",
			"guests run by emulation: %s, and the CPU that this virtual machine was given has neither vmx nor svm", v.Reason)
	case v.Cause == accel.Missing:
		r.add(Warning, f.KVM.Device, "enable virtualization (VT-x, AMD-V) in the firmware's setup",
			"guests run by emulation: %s, and the CPU shows neither vmx nor svm", v.Reason)
	case v.Cause == accel.Busy:
		r.add(Warning, f.KVM.Device, "kvmctl doctor", "not known: %s", v.Reason)
	default:
		r.add(Warning, f.KVM.Device, "ls -l "+f.KVM.Device, "guests run by emulation: %s", v.Reason)
	}
}

func judgeNesting(f *Facts, r *report) {
	switch {
	case f.KVM.Module == "":
		return
	case f.KVM.Nested == "Y" || f.KVM.Nested == "1":
		r.ok("%s lets guests run KVM themselves", f.KVM.Module)
	default:
		r.add(Note, "", "echo options "+f.KVM.Module+" nested=1 >/etc/modprobe.d/kvm-nested.conf", "guests cannot run KVM themselves: %s has nested=%s",
			f.KVM.Module, f.KVM.Nested)
	}
}

// guestUIDs is how far above uid_base a host with many guests may come.
const guestUIDs = 4096

func judgeUIDs(f *Facts, r *report) {
	owner := map[int]string{}
	for _, g := range f.Guests {
		if g.UID == 0 {
			continue
		}
		if other := owner[g.UID]; other != "" {
			r.add(Error, g.Name, "another uid_number in the abi.lock of one of them, while it is stopped", "uid %d is %s's, too: each could read the other's memory",
				g.UID, other)
		}
		owner[g.UID] = g.Name
		for _, a := range f.Accounts {
			if g.UID >= a.First && g.UID-a.First < a.Count {
				r.add(Warning, g.Name, "kvmctl restart "+g.Name, "its uid %d is given to %s in %s: the next start takes another", g.UID, a.Name, a.File)
			}
		}
	}
	for _, p := range f.Processes {
		if g := owner[p.UID]; g != "" && !p.qemu() && p.State != 'Z' {
			r.add(Error, g, fmt.Sprintf("ps -fp %d", p.PID), "pid %d (%s) runs as its uid %d", p.PID, p.Name, p.UID)
		}
	}
	told := map[Account]bool{}
	for _, a := range f.Accounts {
		lo, hi := max(a.First, f.UIDBase+1), min(a.First+a.Count, f.UIDBase+1+guestUIDs)
		if key := (Account{Name: a.Name, First: a.First, Count: a.Count}); lo < hi && a.Count > 1 && !told[key] {
			told[key] = true
			r.add(Warning, a.File, fmt.Sprintf("uid_base = %d in kvm.toml", freeBase(f.Accounts)), "%d of the %d uids above uid_base %d are given to %s",
				hi-lo, guestUIDs, f.UIDBase, a.Name)
		}
	}
}

// freeBase gives a uid_base above which nobody has ids.
func freeBase(accounts []Account) int {
	base := 70000
	for again := true; again && base < 2_000_000_000; {
		again = false
		for _, a := range accounts {
			if a.First < base+1+guestUIDs && base+1 < a.First+a.Count {
				base, again = (a.First+a.Count+9999)/10000*10000, true
			}
		}
	}
	return base
}

// enoughFiles is what a host with many guests and disks needs: kvmctl opens each image and TAP of a start.
const enoughFiles = 4096

func judgeLimits(f *Facts, r *report) {
	l := f.Limits
	if l.OpenFiles > 0 && l.OpenFiles < enoughFiles {
		r.add(Warning, "", "ulimit -Hn 524288", "a process may open %d files: a host with many guests needs %d", l.OpenFiles, enoughFiles)
	}
	var wanted, huge units.Size
	for _, g := range f.Guests {
		runs := g.PID > 0
		if runs || g.Autostart {
			wanted += g.Memory
		}
		if g.HugePages && !runs {
			huge += g.Memory
		}
	}
	if l.Memory > 0 && wanted > l.Memory {
		r.add(Warning, "", "kvmctl list", "the guests that run or start by themselves want %s of memory, the host has %s", people(wanted), people(l.Memory))
	}
	if l.Overcommit == 2 && l.CommitLimit > 0 && wanted > l.CommitLimit {
		r.add(Warning, "", "sysctl -w vm.overcommit_memory=0", "vm.overcommit_memory is 2: no more than %s may be promised, the guests want %s",
			people(l.CommitLimit), people(wanted))
	}
	if huge > l.HugeFree {
		r.add(Warning, "", "sysctl -w vm.nr_hugepages=N", "guests that are stopped ask for %s of huge pages, %s are free", people(huge), people(l.HugeFree))
	}
}

func judgeBridgeNF(f *Facts, r *report) {
	if !f.Bridged {
		return
	}
	for _, name := range f.BridgeNF {
		r.add(Warning, name, "sysctl -w "+name+"=0",
			"frames between guests pass the host's firewall, which may drop them; Docker wants it so: then allow the bridges there")
	}
}

// littleRoom is where a file system counts as full, for images and for what kvmctl writes itself.
const littleRoom = 64 * units.MiB

func judgeSpace(f *Facts, r *report) {
	for _, fs := range f.FileSystems {
		switch {
		case fs.Size > 0 && fs.Free < littleRoom:
			r.add(Error, fs.Path, "df -h "+fs.Path, "%s are free: guests stop when they write, and kvmctl cannot note what happens", people(fs.Free))
		case fs.Growth > fs.Free:
			r.add(Warning, fs.Path, "df -h "+fs.Path, "%s may grow by %s, %s are free: guests stop when it is full", images(fs.Images), people(fs.Growth), people(fs.Free))
		}
	}
}

func images(n int) string {
	if n == 1 {
		return "an image"
	}
	return fmt.Sprintf("%d images", n)
}

// people rounds a size for reading: down to whole units, two digits at least.
func people(s units.Size) units.Size {
	for _, unit := range []units.Size{units.TiB, units.GiB, units.MiB, units.KiB} {
		if s >= 10*unit {
			return s / unit * unit
		}
	}
	return s
}

func judgeOrphans(f *Facts, r *report) {
	runs := map[string]bool{}
	for _, g := range f.Guests {
		runs[g.Name] = g.PID > 0 || g.State == vm.StateStarting || g.State == vm.StateWedged
	}
	for _, t := range f.TAPs {
		switch {
		case t.Whose != "":
			r.add(Note, t.Name, "", "a TAP of %s, and not of a guest of these: %s", t.Guest, t.Whose)
		case runs[t.Guest]:
		case len(t.Holders) > 0:
			r.add(Warning, t.Name, fmt.Sprintf("ps -fp %d", t.Holders[0]), "a TAP of %s, which does not run; pid %d has it open", t.Guest, t.Holders[0])
		default:
			r.add(Warning, t.Name, "", "a TAP of %s, which does not run; no process has it open", t.Guest).fix(DropTAP, t.Name)
		}
	}
	for _, b := range f.Bridges {
		r.add(Note, b, "kvmctl net down "+b, "a bridge that kvmctl made, that is declared no more and has no port")
	}
	for _, m := range f.Tmpfs {
		if !runs[m.Guest] {
			r.add(Warning, m.Point, "", "the room of a run's logs is mounted, and %s does not run", m.Guest).fix(ClearAway, m.Guest)
		}
	}
	for _, path := range f.StaleLocks {
		r.add(Note, path, "", "the lock of a guest that is neither configured nor runs; nobody holds it").fix(DropLock, path)
	}
	for _, dir := range f.Unfinished {
		r.add(Warning, dir, "", "images in it were never finished: their kvmctl was killed").fix(DropImages, dir)
	}
}

func judgeForeign(f *Facts, r *report) {
	ours := map[int]bool{}
	uids := map[int]string{}
	for _, g := range f.Guests {
		ours[g.PID] = true
		if g.UID > 0 {
			uids[g.UID] = g.Name
		}
	}
	for _, p := range f.Processes {
		if !p.qemu() || ours[p.PID] || p.State == 'Z' {
			continue
		}
		if g := uids[p.UID]; g != "" { // a starter that was killed may have left it
			r.add(Error, g, fmt.Sprintf("ps -fp %d", p.PID), "pid %d is a QEMU with its uid %d that is not its guest: %s", p.PID, p.UID, p.Command)
			continue
		}
		r.add(Note, "", fmt.Sprintf("ps -fp %d", p.PID), "pid %d (uid %d) is a QEMU, and none of these guests: %s", p.PID, p.UID, p.Command)
	}
}

// clockSlack is by how much what was noted may seem to lie ahead.
const clockSlack = time.Minute

func judgeClock(f *Facts, r *report) {
	var last time.Time
	name := ""
	for _, g := range f.Guests {
		if g.LastFact.After(last) {
			last, name = g.LastFact, g.Name
		}
	}
	if last.After(f.Now.Add(clockSlack)) {
		r.add(Warning, name, "timedatectl", "the clock was set back: the last fact about it is %s ahead of now", last.Sub(f.Now).Round(time.Minute))
	}
	if f.Unsynced && len(r.all) == 0 {
		r.add(Note, "", "timedatectl", "nobody keeps the clock: the kernel says that it is not synchronized")
	}
}

func (p Process) qemu() bool {
	return len(p.Name) >= 11 && p.Name[:11] == "qemu-system" || slices.Contains([]string{"qemu-kvm", "kvm"}, p.Name)
}
