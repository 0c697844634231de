package vm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cmp "github.com/google/go-cmp/cmp"

	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// fields reads a file of "Key:\tvalue" lines.
func fields(t *testing.T, path string) map[string]string {
	t.Helper()
	return parseFields(read(t, path))
}

func parseFields(b []byte) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		all[key] = strings.Join(strings.Fields(value), " ")
	}
	return all
}

// A started guest with one of everything, looked at from outside: what it is, what it may, what it holds and what it owns.
func TestAStartedGuestOwnsNothing(t *testing.T) {
	t.Parallel()
	h := newSite(t)
	room := newTapRoom(t)
	h.Network = room.network
	s := vmtest.WithAgent(t, vmtest.Spec(t, h.Host, "vm-olorin"))
	initrd := filepath.Join(h.Root, "initrd") // root's alone: QEMU gets a copy in memory; the kernel everybody may read
	if err := os.WriteFile(initrd, read(t, s.Initrd), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Initrd = initrd
	kernel, err := filepath.EvalSymlinks(s.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	base := h.image("qcow2")
	s.Disks = []vm.Disk{
		{Image: h.image("qcow2", "-b", base, "-F", "qcow2"), Format: "qcow2", Bus: vm.BusVirtio, Cache: "none", Discard: true},
		{Image: h.image("raw"), Format: "raw", Bus: vm.BusSCSI, Cache: "writeback", ReadOnly: true},
	}
	s.CDROMs = []vm.CDROM{{Image: h.image("raw")}}
	s.NICs = []vm.NIC{{Bridge: "none", Model: "virtio", Queues: 2}}
	s.VNC.Enabled, s.VNC.Auto = true, true
	vmtest.Start(t, h.Host, s)
	p := vmtest.Owner(t, h.Host, s.Name)
	if p == nil {
		t.Fatal("it does not run")
	}
	defer p.Close()
	proc := fmt.Sprintf("/proc/%d", p.PID)
	abi, err := vm.LoadABI(h.ABILock(s.Name))
	if err != nil {
		t.Fatal(err)
	}
	uid := fmt.Sprint(h.UIDBase + abi.UID)

	started, err := h.StartedArgv(s.Name)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("privileges", func(t *testing.T) {
		ids, none := strings.Join([]string{uid, uid, uid, uid}, " "), "0000000000000000"
		want := map[string]string{"Uid": ids, "Gid": ids, "Groups": "", "CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
			"NoNewPrivs": "1", "Seccomp": "2", "Umask": "0077", "PPid": fmt.Sprint(os.Getpid()), "SigIgn": "0000000000001000"} // SIGPIPE, by QEMU
		tasks, err := filepath.Glob(proc + "/task/*/status")
		if err != nil || len(tasks) == 0 {
			t.Fatalf("%q, %v", tasks, err)
		}
		for _, task := range tasks { // a thread may have other rights than its process
			all := fields(t, task)
			got := map[string]string{}
			for key := range want {
				got[key] = all[key]
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (%s): %s", task, all["Name"], d)
			}
		}
	})

	t.Run("session, directory and environment", func(t *testing.T) {
		stat := string(read(t, proc+"/stat"))
		after := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		if pgrp, session := after[2], after[3]; pgrp != fmt.Sprint(p.PID) || session != fmt.Sprint(p.PID) {
			t.Errorf("group %s, session %s, want its own, %d", pgrp, session, p.PID)
		}
		if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != "/" {
			t.Errorf("directory %q, %v", cwd, err)
		}
		if env := string(read(t, proc+"/environ")); env != "PATH=/usr/bin:/bin\x00LC_ALL=C\x00" {
			t.Errorf("environment %q", env)
		}
		if exe, err := os.Readlink(proc + "/exe"); err != nil || exe != h.QEMU {
			t.Errorf("program %q, %v", exe, err)
		}
		if string(read(t, proc+"/cmdline")) != strings.Join(started, "\x00")+"\x00" {
			t.Error("the command line is not the one that was kept")
		}
	})

	t.Run("descriptors", func(t *testing.T) {
		run := h.RunDir(s.Name)
		// What each is, how it is open and how often: QEMU duplicates what -add-fd gives it for each use.
		want := map[string]string{
			"/dev/null r": "1", "/dev/null w": "1", // stdin and stdout
			run + "/qemu.pid w": "1", run + "/con/stderr w": "1",
			run + "/rec/events w": "2", run + "/con/console w": "2",
			s.Disks[0].Image + " rw": "2", s.Disks[0].Image + " r": "1", base + " r": "2",
			s.Disks[1].Image + " r": "2", s.CDROMs[0].Image + " r": "2",
			"/dev/net/tun rw": "2", kernel + " r": "1", "/memfd:initrd (deleted) rw": "1",
			"listening qmp.sock rw": "1", "listening mon.sock rw": "1", "listening console.sock rw": "1",
			"listening agent.sock rw": "1", "listening " + h.status(s.Name).VNC + " rw": "1",
		}
		var d string
		for range 500 { // QEMU closes its end of a monitor's connection when it gets to it
			got := map[string]string{}
			for role, n := range descriptors(t, proc) {
				if !slices.Contains(ownKinds, role) {
					got[role] = fmt.Sprint(n)
				}
			}
			if d = cmp.Diff(want, got); d == "" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})

	t.Run("files", func(t *testing.T) {
		var owned []string
		err := filepath.WalkDir(h.Root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			switch {
			case fmt.Sprint(st.Uid) == uid || fmt.Sprint(st.Gid) == uid:
				owned = append(owned, fmt.Sprintf("%s %v", path, info.Mode()))
			case st.Uid != 0 || st.Gid != 0:
				t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
			case info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o022 != 0:
				t.Errorf("%s is %v: others may write it", path, info.Mode())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{h.Pidfile(s.Name) + " -rw-------"}, owned); d != "" {
			t.Error(d)
		}
		modes := map[string]string{}
		for _, name := range []string{"", "rec", "con", "qmp.sock", "mon.sock", "console.sock", "agent.sock", "state.json"} {
			st, err := os.Stat(filepath.Join(h.RunDir(s.Name), name))
			if err != nil {
				t.Fatal(err)
			}
			modes[name] = st.Mode().String()
		}
		if d := cmp.Diff(map[string]string{"": "drwx--x--x", "rec": "drwx------", "con": "drwx------", "qmp.sock": "Srw-------", "mon.sock": "Srw-------",
			"console.sock": "Srw-------", "agent.sock": "Srw-------", "state.json": "-rw-------"}, modes); d != "" {
			t.Error(d)
		}
	})

	t.Run("the logs are bounded by their own small file systems", func(t *testing.T) {
		var got []string
		for line := range strings.Lines(string(read(t, "/proc/self/mounts"))) {
			if f := strings.Fields(line); strings.HasPrefix(f[1], h.Root+"/") {
				size := regexp.MustCompile(`size=\w+`).FindString(f[3])
				got = append(got, strings.TrimPrefix(f[1], h.RunDir(s.Name))+" "+f[2]+" "+size+" "+strings.Join(strings.Split(f[3], ",")[:4], ","))
			}
		}
		slices.Sort(got)
		want := []string{"/con tmpfs size=4096k rw,nosuid,nodev,noexec", "/rec tmpfs size=256k rw,nosuid,nodev,noexec"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})

	h.stop(s, byForce)
	h.nothingLeft(s.Name)
	if taps := room.names(t); len(taps) != 0 {
		t.Errorf("TAPs are left: %q", taps)
	}
}

// ownKinds are descriptors that QEMU makes for itself.
var ownKinds = []string{"anon_inode:[eventfd] rw", "anon_inode:[eventpoll] rw", "anon_inode:[signalfd] rw", "anon_inode:[io_uring] rw",
	"/memfd:tcg-jit (deleted) rw"}

// descriptors counts what a process has open, by what it is and how it is open.
func descriptors(t *testing.T, proc string) map[string]int {
	t.Helper()
	entries, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, e := range entries {
		target, err := os.Readlink(proc + "/fd/" + e.Name())
		if err != nil {
			continue // closed meanwhile
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			target = socket(t, proc, strings.TrimSuffix(inode, "]"))
		}
		info, err := os.ReadFile(proc + "/fdinfo/" + e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed since then: QEMU closes its end of a monitor's connection when it gets to it
		} else if err != nil {
			t.Fatal(err)
		}
		var flags uint
		if _, err := fmt.Sscanf(parseFields(info)["flags"], "%o", &flags); err != nil {
			t.Fatal(err)
		}
		all[target+" "+[]string{"r", "w", "rw"}[flags&3]]++
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// socket tells what a socket is: where it listens, or "socket" for any other.
func socket(t *testing.T, proc, inode string) string {
	t.Helper()
	for line := range strings.Lines(string(read(t, proc+"/net/unix"))) {
		// Num RefCount Protocol Flags Type St Inode Path; flag 0x10000: it listens
		if f := strings.Fields(line); len(f) > 6 && f[6] == inode {
			if len(f) == 8 && f[3] == "00010000" {
				return "listening " + filepath.Base(f[7]) // bound through a descriptor of its directory
			}
			return "unix socket " + strings.Join(f[3:], " ")
		}
	}
	for line := range strings.Lines(string(read(t, proc+"/net/tcp"))) {
		var a, b, c, d, port int
		f := strings.Fields(line) // sl local rem st … inode; state 0A: it listens
		if len(f) > 9 && f[9] == inode && f[3] == "0A" {
			if _, err := fmt.Sscanf(f[1], "%02x%02x%02x%02x:%x", &d, &c, &b, &a, &port); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("listening %d.%d.%d.%d:%d", a, b, c, d, port)
		}
	}
	return "socket"
}
