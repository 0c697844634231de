package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/image/mount"
	"kvmctl/vm/vmtest"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// The scripts in testdata/script say what a person types and what kvmctl answers. Beside testscript's own commands they have:
//
//	run ARGS...         runs kvmctl --root $WORK/r ARGS, which has to exit 0
//	exits N ARGS...     and with N; then nothing may be on stdout, and below $WORK/r everything has to be as it was
//	partly N ARGS...    with N, having done a part
//	said LINE...        these and no other lines were on stderr, where $WORK stands for itself, PID for a pid, TIME for a duration,
//	                    kvUID for a TAP and SIZE for the room on the disk; the name of a file of the script's stands for its lines
//	printed LINE...     the same for stdout
//	absent PATH...      none of these exists, not even as a broken symbolic link
//	tmpfs DIR SIZE      mounts a small file system
//	bootcd FILE         makes a CD that installs a boot sector on the first disk and resets the machine
//	killqemu VM         sends SIGKILL to a guest's QEMU
//	killdaemon          sends SIGKILL to what shows the only mounted image
//	certificates DIR    makes what tls under [vnc] wants
//	viewer [-tls DIR] WHERE [PASSWORD]
//	                    a viewer that trusts DIR's CA, with a password or without, at what the file WHERE holds; with ! it is not let in
//	terminal NAME ARGS  runs kvmctl --root $WORK/r ARGS on a terminal of its own, beside the script; there
//	types NAME KEYS     types KEYS, in which \r is Enter and \x1d ^], and
//	shows NAME REGEXP   waits for text that no earlier shows has seen; with !, it never was there
//	left NAME CODE      waits until kvmctl returned with CODE and left its terminal as it was
//	killed NAME         sends it SIGKILL
func scripts(t *testing.T, dir string, vars map[string]string) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script", dir),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a second after each command, otherwise
			for name, value := range vars {
				env.Setenv(name, value)
			}
			return setup(t, env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": func(ts *testscript.TestScript, neg bool, args []string) {
				kvmctl(ts, neg, append([]string{"0"}, args...), false)
			},
			"exits":      func(ts *testscript.TestScript, neg bool, args []string) { kvmctl(ts, neg, args, true) },
			"partly":     func(ts *testscript.TestScript, neg bool, args []string) { kvmctl(ts, neg, args, false) },
			"said":       func(ts *testscript.TestScript, neg bool, args []string) { same(ts, neg, "stderr", args) },
			"printed":    func(ts *testscript.TestScript, neg bool, args []string) { same(ts, neg, "stdout", args) },
			"absent":     absent,
			"tmpfs":      tmpfs,
			"killqemu":   killQEMU,
			"bootcd":     bootCD,
			"killdaemon": killDaemon,

			"certificates": certificates,
			"viewer":       look,
			"terminal":     openTerminal,
			"types":        typeKeys,
			"shows":        waitShown,
			"left":         waitLeft,
			"killed":       killOnTerminal,
		},
	})
}

func TestScripts(t *testing.T) { scripts(t, "pure", nil) }

func TestScriptsThatChangeTheHost(t *testing.T) {
	testenv.Need(t, testenv.Netns, "qemu-img")
	scripts(t, "root", nil)
}

func TestScriptsThatMountImages(t *testing.T) {
	testenv.Need(t, testenv.QEMU, "qemu-storage-daemon", "sfdisk", "mkfs.ext4", "mkswap", "makefs")
	scripts(t, "mount", nil)
}

func TestScriptsWithQEMU(t *testing.T) {
	testenv.Need(t, testenv.QEMU, "mkfs.ext4")
	images, err := guest.Build(t.Context(), guest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("../../contrib/kvm.init")
	if err != nil {
		t.Fatal(err)
	}
	scripts(t, "qemu", map[string]string{"INIT": script, "KERNEL": images.Kernel, "INITRD": images.Initrd, "AGENT": images.AgentInitrd, "APPEND": guest.Cmdline, "READY": guest.Ready})
}

// setup gives a script a root of its own, with uids that no other test has.
func setup(t *testing.T, env *testscript.Env) error {
	if os.Getenv(apart) != "" { // bridges outlive their script: each has a network of its own
		if err := ownNetwork(); err != nil {
			return err
		}
	}
	for _, dir := range []string{filepath.Dir(env.WorkDir), env.WorkDir} { // a guest's uid must get through to its pidfile
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	root := filepath.Join(env.WorkDir, "r")
	for _, dir := range []string{"r", "r/etc", "r/etc/kvm"} { // whatever the umask of the one who runs the tests
		dir = filepath.Join(env.WorkDir, dir)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	base := vmtest.UIDBase()
	env.Values["terminals"] = terminals{}
	env.Values["host"] = &vm.Host{Layout: vm.Layout{Root: root}, UIDBase: base}
	env.Defer(func() { leave(t, env.WorkDir, base) })
	file := filepath.Join(root, "etc", "kvm", "kvm.toml")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte("uid_base = $UIDBASE\n[defaults]\naccel = \"tcg\"\n"), nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "$UIDBASE", strconv.Itoa(base))), 0o644)
}

// leave ends what a failed script left running, below whatever root it made.
func leave(t *testing.T, work string, base int) {
	var roots []string
	if err := filepath.WalkDir(work, func(path string, d fs.DirEntry, err error) error {
		if rel, ok := strings.CutSuffix(path, "/run/kvm"); ok {
			roots = append(roots, rel)
		}
		return nil
	}); err != nil {
		t.Errorf("clean up: %v", err)
	}
	for _, root := range roots {
		h := &vm.Host{Layout: vm.Layout{Root: root}, UIDBase: base}
		names, err := h.Known()
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
		for _, name := range names {
			vmtest.Kill(t, h, name)
		}
		m := mountsBelow(root)
		list, err := m.List()
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
		for _, r := range list {
			if err := m.Umount(context.Background(), r.ID); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
	}
	for _, m := range mounts(work) {
		_ = unix.Unmount(m, unix.MNT_DETACH)
	}
}

func mountsBelow(root string) *mount.Manager {
	return &mount.Manager{Layout: vm.Layout{Root: root}}
}

func root(ts *testscript.TestScript) string { return ts.Getenv("WORK") + "/r" }

// kvmctl runs it and compares its exit code.
func kvmctl(ts *testscript.TestScript, neg bool, args []string, unchanged bool) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits N ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	before := tree(ts)
	err = ts.Exec("kvmctl", append([]string{"--root", root(ts)}, args[1:]...)...)
	got := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if want == 0 || !unchanged {
		return
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("a command that failed wrote to stdout: %q", out)
	}
	if diff := cmp.Diff(before, tree(ts)); diff != "" {
		ts.Fatalf("a command that failed left something behind (-before +after):\n%s", diff)
	}
}

// volatile are the files that any command may write: locks, what was found out about this host, what a running guest says.
var volatile = regexp.MustCompile(`^(run|run/kvm|run/kvm/\.[^/]+|run/kvm/[^/]+/(cursor\.json|harvest\.lock|qmp\.lock|agent\.lock)|` +
	`run/kvm/[^/]+/(con|rec)/.*|var/lib/kvm/\.uid\.lock|var/lib/kvm/[^/]+/(history\.jsonl|console\.log))$`)

// tree lists what is below the root, with the content of what is small, and what is mounted there.
func tree(ts *testscript.TestScript) []string {
	var all []string
	top := root(ts)
	ts.Check(filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a guest may end at any time
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil || volatile.MatchString(rel) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		line := fmt.Sprintf("%s %v", rel, info.Mode())
		if info.Mode().IsRegular() {
			line += fmt.Sprintf(" %d bytes", info.Size())
			if info.Size() < 64<<10 {
				text, _ := os.ReadFile(path)
				line += fmt.Sprintf(" %q", text)
			}
		}
		all = append(all, line)
		return nil
	}))
	return append(all, mounts(top)...)
}

// mounts lists the mount points below dir, the last mounted first.
func mounts(dir string) []string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			all = append(all, f[1])
		}
	}
	slices.Reverse(all)
	return all
}

var (
	pid      = regexp.MustCompile(`\bpid [0-9]+`)
	duration = regexp.MustCompile(`\b(in|after) [0-9]+(ms|s|m[0-9]+s)\b`)
	tap      = regexp.MustCompile(`\bkv[0-9]+\.([0-9])`)
	onDisk   = regexp.MustCompile(`(?m)^(on disk +|    "on_disk_bytes": )[0-9]+[KMG]?`) // the file system's affair
)

// same compares what a command wrote with lines that the script gives.
func same(ts *testscript.TestScript, neg bool, stream string, want []string) {
	if neg {
		ts.Fatalf("unsupported: ! said")
	}
	text := strings.ReplaceAll(ts.ReadFile(stream), ts.Getenv("WORK"), "$WORK")
	text = strings.ReplaceAll(text, "kvmctl --root $WORK/r ", "kvmctl ") // that hints repeat it, pure/root.txtar shows
	text = duration.ReplaceAllString(pid.ReplaceAllString(text, "pid PID"), "$1 TIME")
	text = tap.ReplaceAllString(text, "kvUID.$1")
	text = onDisk.ReplaceAllString(text, "${1}SIZE")
	got := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if text == "" {
		got = nil
	}
	if len(want) == 1 && !strings.Contains(want[0], " ") && want[0] != "" {
		if file, err := os.ReadFile(ts.MkAbs(want[0])); err == nil {
			want = strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		ts.Fatalf("%s (-want +got):\n%s", stream, diff)
	}
}

func absent(ts *testscript.TestScript, neg bool, paths []string) {
	if neg || len(paths) == 0 {
		ts.Fatalf("usage: absent PATH...")
	}
	for _, p := range paths {
		if _, err := os.Lstat(ts.MkAbs(p)); !errors.Is(err, fs.ErrNotExist) {
			ts.Fatalf("%s is there (%v)", p, err)
		}
	}
}

func tmpfs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs DIR SIZE")
	}
	ts.Check(unix.Mount("kvmctl-test", ts.MkAbs(args[0]), "tmpfs", 0, "mode=0755,size="+args[1]))
}

func killQEMU(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killqemu VM")
	}
	h := ts.Value("host").(*vm.Host)
	abi, err := vm.LoadABI(h.ABILock(args[0]))
	ts.Check(err)
	p, err := vm.FindOwner(h.Pidfile(args[0]), h.UIDBase+abi.UID)
	ts.Check(err)
	defer p.Close()
	ts.Check(p.Signal(unix.SIGKILL))
	if !p.Wait(context.Background(), vmtest.Patience) {
		ts.Fatalf("pid %d outlived SIGKILL", p.PID)
	}
}

func killDaemon(ts *testscript.TestScript, neg bool, args []string) {
	list, err := mountsBelow(root(ts)).List()
	ts.Check(err)
	if neg || len(args) > 0 || len(list) != 1 {
		ts.Fatalf("usage: killdaemon, with one image mounted; %d are", len(list))
	}
	p, err := vm.FindOwner(filepath.Join(root(ts), "run/kvm/.mounts", list[0].ID, "pid"), list[0].UID)
	ts.Check(err)
	defer p.Close()
	ts.Check(p.Signal(unix.SIGKILL))
	if !p.Wait(context.Background(), vmtest.Patience) {
		ts.Fatalf("pid %d outlived SIGKILL", p.PID)
	}
}
