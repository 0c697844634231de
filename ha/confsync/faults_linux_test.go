package confsync

import (
	"context"
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

// onLittle, in the environment, makes this binary a run of the job below a directory whose "here" is a file system of 1 MiB.
const onLittle = "KVMHA_TEST_LITTLE_DISK"

func init() {
	if os.Getenv(onLittle) == "" {
		return
	}
	err := littleDisk(os.Args[1])
	fmt.Println(err)
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// littleDisk has the process's own mounts.
func littleDisk(dir string) error {
	here, big := filepath.Join(dir, "here"), filepath.Join(dir, "there/zones/big")
	if err := errors.Join(os.RemoveAll(here), os.Mkdir(here, 0o755), unix.Mount("little", here, "tmpfs", 0, "size=1m")); err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(here+"/zones", 0o755), os.WriteFile(here+"/zones/a.zone", []byte("old\n"), 0o644), os.WriteFile(here+"/named.conf", []byte("old conf\n"), 0o644),
		os.WriteFile(big, make([]byte, 2<<20), 0o644)); err != nil {
		return err
	}
	e, job := engine(dir)
	_, err := e.Run(context.Background(), job, false)
	if err == nil || !strings.Contains(err.Error(), "No space left on device") {
		return fmt.Errorf("a full disk says %w", err)
	}
	if text, err := os.ReadFile(here + "/zones/a.zone"); err != nil || string(text) != "old\n" {
		return fmt.Errorf("in place is %q, %w", text, err)
	}
	if inode(filepath.Join(beside(here+"/zones/"), staged)) != 0 || inode(e.journalPath(job.Name)) != 0 {
		return errors.New("something is left over")
	}
	if err := os.Truncate(big, 10); err != nil {
		return err
	}
	_, err = e.Run(context.Background(), job, false)
	return err
}

func TestAFullDiskKeepsTheOldFiles(t *testing.T) {
	dir, _, _ := site(t)
	c := exec.CommandContext(t.Context(), "/proc/self/exe", dir)
	c.Env = append(os.Environ(), onLittle+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWithoutRsync(t *testing.T) {
	dir, e, job := site(t)
	t.Setenv("PATH", t.TempDir())
	_, err := e.Run(t.Context(), job, false)
	if _, ok := errors.AsType[*NoRsyncError](err); !ok {
		t.Errorf("a run says %v", err)
	}
	if _, ok := errors.AsType[*NoRsyncError](Offered(dir + "/there/zones/")); !ok {
		t.Error("offers what it cannot send")
	}
	is(t, "without rsync", tree(t, filepath.Join(dir, "here")), before)
}

// A node that dies in the middle says nothing more, not even that it has gone.
func TestASilentSourceEndsThePass(t *testing.T) {
	dir, e, job := site(t)
	e.Silence = time.Second
	silent := filepath.Join(dir, "silent")
	put(t, silent, "#!/bin/sh\nexec sleep 60\n")
	if err := os.Chmod(silent, 0o755); err != nil {
		t.Fatal(err)
	}
	e.Source = func(Job, int) (string, string) { return silent, "a:zones/" }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	if _, err := e.Run(ctx, job, false); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "rsync ends with 30: ") {
		t.Errorf("says %v, %v", err, ctx.Err())
	}
	is(t, "with a silent source", tree(t, filepath.Join(dir, "here")), before)
}

// Whatever a pass meets while files come and go there: what it puts in place is whole, and the pass behind the last change makes both sides equal.
func TestASourceThatChangesMeanwhile(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	dir := t.TempDir()
	there, here := filepath.Join(dir, "there"), filepath.Join(dir, "here")
	whole := func(n int) string { return strings.Repeat(fmt.Sprintf("%d\n", n%10), 20_000) }
	put(t, there+"/keep", whole(0))
	put(t, there+"/whole", whole(0))
	e := &Engine{State: filepath.Join(dir, "state"), Source: func(Job, int) (string, string) { return "", there + "/" }}
	job := Job{Name: "zones", Paths: []string{here + "/"}, Exclude: []string{"*.part"}, MaxDelete: 100, Keep: 1}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writing sync.WaitGroup
	var wrote error
	writing.Go(func() {
		for n := 0; ctx.Err() == nil && wrote == nil; n++ {
			coming := fmt.Sprintf("%s/comes%d", there, n%50)
			wrote = errors.Join(os.WriteFile(there+"/whole.part", []byte(whole(n)), 0o644), os.Rename(there+"/whole.part", there+"/whole"),
				os.WriteFile(coming, []byte(whole(n)), 0o644), os.Remove(coming))
		}
	})
	for range 5 {
		_, err := e.Run(t.Context(), job, false)
		if err != nil && !strings.Contains(err.Error(), "rsync ends with 24: ") && !strings.Contains(err.Error(), "rsync ends with 23: ") {
			t.Errorf("a pass says %v", err)
		}
		text, err := os.ReadFile(here + "/whole")
		if err == nil && (len(text) != 40_000 || strings.Count(string(text), string(text[:2])) != 20_000) {
			t.Errorf("half a file is in place: %d bytes", len(text))
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	stop()
	writing.Wait()
	if wrote != nil {
		t.Fatal(wrote)
	}
	if _, err := e.Run(t.Context(), job, false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"whole", "keep"} {
		want, err := os.ReadFile(filepath.Join(there, name))
		got, err2 := os.ReadFile(filepath.Join(here, name))
		if err := errors.Join(err, err2); err != nil || string(got) != string(want) {
			t.Errorf("%s is another one behind the last pass: %v", name, err)
		}
	}
}
