package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
	"kvmctl/internal/testenv"
)

// mountAt mounts something at a directory of its own until the test ends.
func mountAt(t testing.TB, source, kind string, flags uintptr, data string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(source, dir, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDisk(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	dir := mountAt(t, "box", "tmpfs", 0, "size=1M,nr_inodes=10")
	ask := Disk{Path: dir, Mounted: true, MinFree: "50%", MinInodes: "50%"}
	say := func(what string, s Disk, want string) {
		t.Helper()
		got, _, _ := once(t, s, long)
		says(t, what, strings.ReplaceAll(got, dir, "DIR"), want, dir)
	}
	say("healthy", ask, "")
	say("a link to it", Disk{Path: linkTo(t, dir), MinFree: "512K", MinInodes: "3"}, "")

	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	say("little room", ask, `^DIR has 324K free \(31.6%\), wanted 50%: tmpfs on box$`)
	say("little room in bytes", Disk{Path: dir, MinFree: "512K"}, `^DIR has 324K free \(31.6%\), wanted 512K: tmpfs on box$`)
	say("any room will do", Disk{Path: dir}, "")
	for i := range 6 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "")
	}
	say("few inodes", Disk{Path: dir, MinInodes: "50%"}, `^DIR has 2 inodes free \(20%\), wanted 50%: tmpfs on box$`)
	say("few inodes in numbers", Disk{Path: dir, MinInodes: "3"}, `^DIR has 2 inodes free \(20%\), wanted 3: tmpfs on box$`)
	say("no mount of its own", Disk{Path: filepath.Join(dir, "."), Mounted: true}, "")
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	say("not mounted", Disk{Path: sub, Mounted: true}, `^nothing is mounted at DIR/sub: it is a directory of DIR \(tmpfs on box\)$`)
	say("nothing there", Disk{Path: filepath.Join(dir, "void")}, `^lstat DIR/void: no such file or directory$`)

	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	say("remounted read-only", Disk{Path: sub}, `^DIR/sub is read-only \(tmpfs on box\): the kernel does that after an error, see dmesg$`)
	say("read-only is well", Disk{Path: sub, ReadOnly: true}, "")
}

func linkTo(t *testing.T, to string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// A file system whose server never answers, as NFS mounted hard: each question ends in time, only one look hangs, and when the file system comes
// to an end the check goes on.
func TestDiskThatHangs(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testenv.Cannot(t, fmt.Sprintf("open /dev/fuse: %v", err))
	}
	closed := false
	closeFuse := func() {
		if !closed {
			closed = true
			_ = unix.Close(fuse) // ends what hangs
		}
	}
	t.Cleanup(closeFuse)
	dir := t.TempDir()
	if err := unix.Mount("srv:/export", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse)); err != nil {
		testenv.Cannot(t, fmt.Sprintf("mount fuse: %v", err))
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })

	spec := Disk{Path: filepath.Join(dir)}
	made, err := spec.Probe(Env{})
	if err != nil {
		t.Fatal(err)
	}
	p := made.(*diskProbe)
	ask := func(timeout time.Duration) (string, time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		began := time.Now()
		return answerOf(p.Ask(ctx)).Reason, time.Since(began)
	}
	var look chan seenDisk
	for i := range 3 {
		got, took := ask(short)
		says(t, "hangs", strings.ReplaceAll(got, dir, "DIR"), `^DIR \(fuse on srv:/export\) has not answered for \d+(\.\d+)?m?s$`, dir)
		if took > within {
			t.Errorf("after %v", took)
		}
		if i == 0 {
			look = p.look
		} else if p.look != look {
			t.Error("another look was begun")
		}
	}
	closeFuse()
	got, _ := ask(long)
	says(t, "over", strings.ReplaceAll(got, dir, "DIR"), `^(lstat|statfs) DIR: (transport endpoint is not connected|software caused connection abort)$`, dir)
	p.Close()
}

func TestDiskJudge(t *testing.T) {
	ext4 := mountinfo.Entry{Point: "/srv", Source: "/dev/vda3", Type: "ext4", Options: "rw,relatime", Super: "rw,errors=remount-ro"}
	with := func(change func(*mountinfo.Entry)) mountinfo.Entry { e := ext4; change(&e); return e }
	full := room{block: 4096, blocks: 1 << 20, free: 1 << 10, inodes: 1000, spare: 0}
	good := room{block: 4096, blocks: 1 << 20, free: 1 << 19, inodes: 1000, spare: 500}
	for _, tt := range []struct {
		name string
		spec Disk
		at   mountinfo.Entry
		r    room
		want string
	}{
		{"well", Disk{Path: "/srv/", Mounted: true, MinFree: "5%", MinInodes: "5%"}, ext4, good, ""},
		{"the kernel found an error (ext4(5), errors=remount-ro)", Disk{Path: "/srv"}, with(func(e *mountinfo.Entry) { e.Super = "ro,errors=remount-ro" }), good,
			"/srv is read-only (ext4 on /dev/vda3): the kernel does that after an error, see dmesg"},
		{"bound read-only", Disk{Path: "/srv"}, with(func(e *mountinfo.Entry) { e.Options = "ro,relatime" }), good,
			"/srv is read-only (ext4 on /dev/vda3): the kernel does that after an error, see dmesg"},
		{"an option that only begins so", Disk{Path: "/srv"}, with(func(e *mountinfo.Entry) { e.Super = "rw,rootcontext=x,ro2" }), good, ""},
		{"full", Disk{Path: "/srv", MinFree: "5%"}, ext4, full, "/srv has 4M free (0%), wanted 5%: ext4 on /dev/vda3"},
		{"no inodes", Disk{Path: "/srv", MinInodes: "1"}, ext4, full, "/srv has 0 inodes free (0%), wanted 1: ext4 on /dev/vda3"},
		{"what counts no inodes has enough (btrfs)", Disk{Path: "/srv", MinInodes: "5%"}, ext4, room{block: 1, blocks: 10, free: 10}, ""},
		{"an empty file system has no part free", Disk{Path: "/proc", MinFree: "5%"}, ext4, room{}, ""},
		{"more than a size can be", Disk{Path: "/srv", MinFree: "1T"}, ext4, room{block: 1 << 40, blocks: 1 << 40, free: 1 << 40}, ""},
	} {
		err := tt.spec.judge(tt.at, tt.r)
		if got := answerOf(err).Reason; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDiskCovering(t *testing.T) {
	table := []mountinfo.Entry{{Point: "/", Source: "root"}, {Point: "/srv", Source: "hidden"}, {Point: "/srv", Source: "srv"}, {Point: "/srv/data", Source: "data"}, {Point: "/srv2", Source: "other"}}
	for path, want := range map[string]string{"/": "root", "/etc": "root", "/srv": "srv", "/srv/a": "srv", "/srv/data": "data", "/srv/data/a": "data", "/srv/database": "srv", "/srv22": "root"} {
		if got, ok := covering(table, path); !ok || got.Source != want {
			t.Errorf("%s: %q, want %q", path, got.Source, want)
		}
	}
	if _, ok := covering(nil, "/"); ok {
		t.Error("an empty table covers /")
	}
}

func TestDiskValidate(t *testing.T) {
	for want, spec := range map[string]Disk{
		`path "srv" is not absolute`: {Path: "srv"},
		`min_free "half" is neither a part such as "5%" nor a size such as "2G"`: {Path: "/srv", MinFree: "half"},
		`min_free "101%" is neither a part such as "5%" nor a size such as "2G"`: {Path: "/srv", MinFree: "101%"},
		`min_free "NaN%" is neither a part such as "5%" nor a size such as "2G"`: {Path: "/srv", MinFree: "NaN%"},
		`min_inodes "-1" is neither a part such as "5%" nor a number`:            {Path: "/srv", MinInodes: "-1"},
	} {
		if err := spec.Validate(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := (Disk{Path: "/srv", MinFree: "0.5%", MinInodes: "1000"}).Validate(); err != nil {
		t.Error(err)
	}
}

func BenchmarkDisk(b *testing.B) { bench(b, Disk{Path: "/", MinFree: "0%"}) }
