package confsync

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// watchLimits, in the environment, makes this binary a process of a user namespace whose limits it names: it watches its argument, and says what came.
const watchLimits = "KVMHA_TEST_WATCH_LIMITS"

func init() {
	limits := os.Getenv(watchLimits)
	if limits == "" {
		return
	}
	for limit := range strings.FieldsSeq(limits) {
		key, value, _ := strings.Cut(limit, "=")
		if err := os.WriteFile("/proc/sys/user/"+key, []byte(value), 0); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	err := Watch(ctx, Job{Paths: []string{os.Args[1] + "/"}}, func(bool) { cancel() })
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		err = fmt.Errorf("%w; %s", err, hint.Hint())
	}
	fmt.Println(err)
	os.Exit(0)
}

func TestALimitOfTheKernelIsNamed(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	dir := t.TempDir()
	put(t, dir+"/a/b/zone", "x")
	for limits, want := range map[string]string{
		"max_inotify_watches=100": "<nil>",
		"max_inotify_watches=2":   "the limit fs.inotify.max_user_watches is reached; sysctl fs.inotify.max_user_watches",
		"max_inotify_instances=0": "the limit fs.inotify.max_user_instances is reached; sysctl fs.inotify.max_user_instances",
	} {
		c := exec.CommandContext(t.Context(), "/proc/self/exe", dir)
		c.Env = append(os.Environ(), watchLimits+"="+limits)
		one := []syscall.SysProcIDMap{{HostID: 0, ContainerID: 0, Size: 1}}
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one, GidMappings: one}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", limits, err, out)
		}
		is(t, limits, strings.TrimSpace(string(out)), want)
	}
}

// watching runs Watch, and gives what it tells.
func watching(t *testing.T, job Job) <-chan bool {
	t.Helper()
	told := make(chan bool, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := Watch(ctx, job, func(lost bool) { told <- lost }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); all.Wait() })
	next(t, told, "the beginning")
	return told
}

func next(t *testing.T, told <-chan bool, what string) (lost bool) {
	t.Helper()
	select {
	case lost = <-told:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s is not told of", what)
	}
	return lost
}

func TestAChangeIsTold(t *testing.T) {
	do := func(errs ...error) error { return errors.Join(errs...) }
	for name, act := range map[string]func(dir string) error{
		"a file is written":              func(d string) error { return os.WriteFile(d+"/zones/sub/a", []byte("new"), 0o644) },
		"a file takes another's place":   func(d string) error { return os.Rename(d+"/zones/a", d+"/zones/sub/a") },
		"a file comes from outside":      func(d string) error { return os.Rename(d+"/outside", d+"/zones/b") },
		"a file goes":                    func(d string) error { return os.Remove(d + "/zones/a") },
		"a link":                         func(d string) error { return os.Symlink("a", d+"/zones/link") },
		"rights":                         func(d string) error { return os.Chmod(d+"/zones/a", 0o600) },
		"times":                          func(d string) error { return os.Chtimes(d+"/zones/a", time.Unix(1, 0), time.Unix(1, 0)) },
		"a directory comes":              func(d string) error { return os.Mkdir(d+"/zones/more", 0o755) },
		"a directory goes":               func(d string) error { return os.RemoveAll(d + "/zones/sub") },
		"the directory is another one":   func(d string) error { return do(os.Rename(d+"/zones", d+"/old"), os.Rename(d+"/next", d+"/zones")) },
		"the file of its own":            func(d string) error { return os.WriteFile(d+"/conf", nil, 0o644) },
		"the file of its own is another": func(d string) error { return os.Rename(d+"/outside", d+"/conf") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, f := range []string{"zones/a", "zones/sub/a", "conf", "outside", "next/a"} {
				put(t, filepath.Join(dir, f), "x")
			}
			told := watching(t, Job{Paths: []string{dir + "/zones/", dir + "/conf"}})
			if err := act(dir); err != nil {
				t.Fatal(err)
			}
			if next(t, told, name) {
				t.Error("something is lost")
			}
		})
	}
}

// A directory that comes later is watched like the others, what was put in it at once and what is put in it later.
func TestADirectoryThatComesLaterIsWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir+"/zones/a", "x")
	told := watching(t, Job{Paths: []string{dir + "/zones/"}})
	put(t, dir+"/zones/new/below/a", "x")
	next(t, told, "the directory")
	for range 4 { // the directory itself may be told of more than once
		put(t, dir+"/zones/new/below/a", "y")
		next(t, told, "the file in it")
	}
}

func TestWhatAJobsChangesAre(t *testing.T) {
	job := Job{Paths: []string{"/etc/bind/", "/etc/named.conf"}, Exclude: []string{"*.jnl", "managed/keys"}}
	for file, want := range map[string]bool{
		"/etc/bind": true, "/etc/bind/a": true, "/etc/bind/a/b": true, "/etc/named.conf": true, "/etc": false, "/etc/other": false, "/etc/binder/a": false,
		"/etc/bind/a.jnl": false, "/etc/bind/x.jnl/a": false, "/etc/bind/managed/keys": false, "/etc/bind/managed/keys/a": false, "/etc/bind/managed/other": true,
		"/etc/named.conf/a": false, "/etc/.bind.kvmha/new/a": false,
	} {
		if got := job.touches(file); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
}

// A burst is told once: when it is quiet, and at the latest after a while.
func TestABurstIsToldOnce(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	var b burst
	if !b.until().IsZero() {
		t.Error("told of nothing")
	}
	for _, c := range []struct{ add, want int }{{0, 300}, {200, 500}, {2600, 2900}, {2800, 3000}, {2999, 3000}} {
		if b.add(at(c.add)); !b.until().Equal(at(c.want)) {
			t.Errorf("after a change at %d ms told at %v, want %d ms", c.add, b.until(), c.want)
		}
	}
}

func rawEvent(wd int32, mask uint32, name string) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
	b = binary.NativeEndian.AppendUint32(b, mask)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32((len(name)+16)/16*16))
	return append(append(b, name...), make([]byte, (len(name)+16)/16*16-len(name))...)
}

// inotify(7): IN_Q_OVERFLOW has the watch -1. What is watched is watched anew, and a change taken for granted.
func TestLostEventsCountAsAChange(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write(rawEvent(-1, unix.IN_Q_OVERFLOW, "")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	lost, err := (&watcher{f: r, dirs: map[int32]string{}}).follow(ctx, Job{}, func() { t.Error("told before it is watched anew") })
	if !lost || err != nil || ctx.Err() != nil {
		t.Error(lost, err, ctx.Err())
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(rawEvent(1, unix.IN_CREATE, "zone"))
	f.Add(append(rawEvent(-1, unix.IN_Q_OVERFLOW, ""), 1, 2, 3))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range parseEvents(b) {
			if len(e.name) > len(b) || strings.Contains(e.name, "\x00") {
				t.Errorf("%q", e.name)
			}
		}
	})
}
