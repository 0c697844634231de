package hostcmd

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/cmd/internal/doctor"
	"kvmctl/configs"
	"kvmctl/internal/units"
	"kvmctl/netbridge"
	"kvmctl/vm"
	"kvmctl/vm/accel"
	"kvmctl/vm/image"
)

// gather finds out what doctor judges. What cannot be read stays unknown: an examination ends with what it could see.
func (a *app) gather(ctx context.Context, s *configs.Site) (*doctor.Facts, error) {
	h := a.host(s, "doctor")
	f := &doctor.Facts{Now: time.Now(), QEMU: h.QEMU, UIDBase: h.UIDBase, Mistakes: len(s.Problems)}
	f.KVM = gatherKVM(ctx, h.KVMDevice)
	for _, x := range []struct {
		file         string
		first, count int
	}{{"/etc/passwd", 2, -1}, {"/etc/group", 2, -1}, {"/etc/subuid", 1, 2}, {"/etc/subgid", 1, 2}} {
		f.Accounts = append(f.Accounts, doctor.ParseAccounts(x.file, bytes.NewReader(slurp(x.file)), x.first, x.count)...)
	}
	f.Processes = processes()
	f.Limits = gatherLimits()
	if err := a.gatherGuests(ctx, s, h, f); err != nil {
		return nil, err
	}
	for _, g := range s.Guests {
		f.Bridged = f.Bridged || len(g.Spec.NICs) > 0
	}
	f.Bridged = f.Bridged || len(s.Host.Bridges) > 0
	for _, what := range []string{"iptables", "ip6tables", "arptables"} {
		if strings.TrimSpace(string(slurp("/proc/sys/net/bridge/bridge-nf-call-"+what))) == "1" {
			f.BridgeNF = append(f.BridgeNF, "net.bridge.bridge-nf-call-"+what)
		}
	}
	f.FileSystems = fileSystems(s, a.layout())
	f.Files = append(hostFiles(s), f.Files...)
	f.Tmpfs = doctor.ParseTmpfs(bytes.NewReader(slurp("/proc/self/mountinfo")), a.layout().RunRoot())
	a.gatherLinks(ctx, s, f)
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	f.Unsynced = err == nil && (state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0)
	return f, nil
}

// slurp reads a small file of the kernel's or the system's; what is not there is empty.
func slurp(path string) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, doctor.MaxFile)) // as much as it gave
	return b
}

func gatherKVM(ctx context.Context, device string) doctor.KVM {
	k := doctor.KVM{Device: device, Verdict: accel.Probe(ctx, device), Flags: doctor.ParseCPUFlags(bytes.NewReader(slurp("/proc/cpuinfo")))}
	for _, m := range []string{"kvm_intel", "kvm_amd"} {
		if n := strings.TrimSpace(string(slurp("/sys/module/" + m + "/parameters/nested"))); n != "" {
			k.Module, k.Nested = m, n
		}
	}
	return k
}

func gatherLimits() doctor.Limits {
	var l doctor.Limits
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		l.OpenFiles = files.Max
	}
	m := doctor.ParseMeminfo(bytes.NewReader(slurp("/proc/meminfo")))
	l.Memory, l.CommitLimit, l.HugeFree = m.Total, m.CommitLimit, m.HugeFree
	l.Overcommit, _ = strconv.Atoi(strings.TrimSpace(string(slurp("/proc/sys/vm/overcommit_memory")))) // unknown: 0, the usual
	return l
}

// processes lists what runs; kernel threads, which have no command, are left out.
func processes() []doctor.Process {
	var all []doctor.Process
	for _, pid := range pids() {
		dir := "/proc/" + strconv.Itoa(pid)
		p := doctor.Process{PID: pid, Command: doctor.ParseCommand(slurp(dir + "/cmdline"))}
		var ok, owned bool
		p.Name, p.State, ok = doctor.ParseStat(slurp(dir + "/stat"))
		p.UID, owned = doctor.ParseUID(slurp(dir + "/status"))
		if ok && owned && p.Command != "" {
			all = append(all, p)
		}
	}
	return all
}

func pids() []int {
	var all []int
	entries, _ := os.ReadDir("/proc") // without it there is none
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// tapHolders lists the processes that have a TAP open.
func tapHolders(name string) []int {
	var all []int
	for _, pid := range pids() {
		dir := "/proc/" + strconv.Itoa(pid)
		fds, _ := os.ReadDir(dir + "/fd") // it may have ended
		for _, fd := range fds {
			if to, err := os.Readlink(dir + "/fd/" + fd.Name()); err == nil && to == "/dev/net/tun" &&
				doctor.ParseTUN(slurp(dir+"/fdinfo/"+fd.Name())) == name {
				all = append(all, pid)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// othersTAP tells by what a TAP is known to be of a guest below another --root, which bears the same alias; "": it is ours. The QEMU that
// has it open names its root; one that nobody has open bears the uid it was made for.
func othersTAP(h *vm.Host, t doctor.TAP) string {
	for _, pid := range t.Holders {
		file := doctor.ParsePidfile(string(slurp("/proc/" + strconv.Itoa(pid) + "/cmdline")))
		if root, ok := strings.CutSuffix(file, (vm.Layout{}).Pidfile(t.Guest)); ok && file != h.Pidfile(t.Guest) {
			return fmt.Sprintf("pid %d has it open, which runs below %s", pid, cmp.Or(root, "/"))
		}
	}
	if uid, ok := doctor.ParseTAP(t.Name); ok && len(t.Holders) == 0 && !h.HasUID(uid) {
		return fmt.Sprintf("uid %d is none of theirs", uid)
	}
	return ""
}

// gatherLinks finds the interfaces that bear our alias.
func (a *app) gatherLinks(ctx context.Context, s *configs.Site, f *doctor.Facts) {
	k, err := netbridge.NewKernel()
	if err != nil {
		return
	}
	defer k.Close()
	links, err := k.Links(ctx)
	if err != nil {
		return
	}
	for _, l := range links {
		if guest, _, ok := l.Guest(); ok {
			t := doctor.TAP{Name: l.Name, Alias: l.Alias, Guest: guest, Holders: tapHolders(l.Name)}
			t.Whose = othersTAP(a.host(s, "doctor"), t)
			f.TAPs = append(f.TAPs, t)
		}
	}
	for _, b := range netbridge.Survey(links, s.Host.Bridges) {
		if b.Ours && b.Declared == nil && len(b.Ports) == 0 {
			f.Bridges = append(f.Bridges, b.Name)
		}
	}
}

// fileSystems adds up what the images on each file system may still take, and looks where kvmctl writes itself.
func fileSystems(s *configs.Site, l vm.Layout) []doctor.FileSystem {
	var all []doctor.FileSystem
	index := map[uint64]int{}
	at := func(dir string) *doctor.FileSystem {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Stat(dir, &st) != nil || unix.Statfs(dir, &fs) != nil {
			return nil
		}
		i, ok := index[st.Dev]
		if !ok {
			i = len(all)
			index[st.Dev] = i
			block := units.Size(fs.Bsize)
			all = append(all, doctor.FileSystem{Path: dir, Size: units.Size(fs.Blocks) * block, Free: units.Size(fs.Bavail) * block})
		}
		return &all[i]
	}
	at(l.LibDir())
	at(l.RunRoot())
	counted := map[string]bool{}
	for _, g := range s.Guests {
		for _, d := range g.Spec.Disks {
			grow, ok := growth(d.Image)
			if counted[d.Image] || d.ReadOnly || !ok {
				continue
			}
			counted[d.Image] = true
			if fs := at(filepath.Dir(d.Image)); fs != nil {
				fs.Images++
				fs.Growth += grow
			}
		}
	}
	return all
}

// growth is what an image may still take of its file system; a device of its own takes nothing.
func growth(path string) (units.Size, bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, false
	}
	header, err := image.ReadHeader(f, st.Size)
	if err != nil {
		return 0, false
	}
	return max(0, header.VirtualSize-units.Size(st.Blocks)*512), true
}
