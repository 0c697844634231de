//go:build linux

package arbiter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

// TestFullDisk fills the disk of an arbiter's records, or makes it one that can only be read: no answer is given and nothing changes, the arbiter says so before
// anybody asks, and afterwards the same request wins.
func TestFullDisk(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for name, tt := range map[string]struct {
		fill func(dir string) error
		free func(dir string) error
		want syscall.Errno
		says string
	}{
		"no bytes": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600) },
			func(dir string) error { return os.Remove(filepath.Join(dir, "fill")) }, unix.ENOSPC, ", where 0 bytes and "},
		"no inodes": {func(dir string) (err error) {
			for i := 0; err == nil; i++ {
				err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("fill%d", i)), nil, 0o600)
			}
			return err
		}, func(dir string) error { return os.Remove(filepath.Join(dir, "fill0")) }, unix.ENOSPC, " and 0 files are free: "},
		"read only": {func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") },
			func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT, "") }, unix.EROFS, ": read-only file system"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("records", dir, "tmpfs", 0, "size=64k,nr_inodes=16"); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
			s := open(t, dir, pair)
			if _, err := s.Create(t.Context(), "web", "b", 4, false); err != nil {
				t.Fatal(err)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("before: %v", err)
			}
			if err := tt.fill(dir); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			if err := s.Ready(t.Context()); !errors.Is(err, tt.want) || !strings.HasPrefix(err.Error(), "keep an answer in "+dir) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("full: %v", err)
			}
			request := Request{"web", "a", 5, id(5)}
			for range 3 {
				r, err := s.AskFrom(t.Context(), "a", request)
				if outcome(r, err) != "unknown" || !errors.Is(err, tt.want) {
					t.Errorf("%s: %v", outcome(r, err), err)
				}
			}
			if r, err := s.Look(t.Context(), "web"); err != nil || r.Holder != "b" || r.N != 4 {
				t.Errorf("the record is %v (%v)", r, err)
			}
			if left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if err := tt.free(dir); err != nil {
				t.Fatal(err)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("after: %v", err)
			}
			if r, err := s.AskFrom(t.Context(), "a", request); outcome(r, err) != "won a 5" {
				t.Errorf("after: %s: %v", outcome(r, err), err)
			}
		})
	}
}

// TestFullEtcd uses up the quota of space of an etcd, which then answers whoever looks and writes nothing.
func TestFullEtcd(t *testing.T) {
	m := cluster(t, 1, "http", "--quota-backend-bytes", "262144")[0]
	e := openEtcd(t, "a", nil, "http://"+m.client)
	ready(t, e)
	create := backend{create: e.Create}
	if err := create.creates(t.Context(), "web", "b", 4, false); err != nil {
		t.Fatal(err)
	}
	if err := e.Ready(t.Context()); err != nil {
		t.Errorf("before: %v", err)
	}
	fill := []byte(strings.Repeat("x", 64<<10))
	eventually(t, func() error {
		_, err := e.post(t.Context(), "/v3/kv/put", etcdPut{[]byte("fill"), fill})
		if err == nil || !strings.Contains(err.Error(), "database space exceeded") {
			return fmt.Errorf("not full yet: %w", err)
		}
		return nil
	})
	eventually(t, func() error { // the alarm comes by itself, soon after
		if err := e.Ready(t.Context()); !errors.Is(err, ErrEtcdAlarm) || !strings.HasSuffix(err.Error(), ": NOSPACE") {
			return fmt.Errorf("full: %w", err)
		}
		return nil
	})
	eventually(t, func() error {
		r, err := e.AskFrom(t.Context(), "a", Request{"web", "a", 5, id(5)})
		if outcome(r, err) != "unknown" || !strings.Contains(err.Error(), "database space exceeded") {
			return fmt.Errorf("%s: %w", outcome(r, err), err)
		}
		r, err = e.AskFrom(t.Context(), "a", Request{"web", "a", 4, id(5)})
		if outcome(r, err) != "lost to b 4" {
			return fmt.Errorf("%s: %w", outcome(r, err), err)
		}
		return nil
	})
}

func FuzzAlarms(f *testing.F) {
	f.Add([]byte(`{"header":{},"alarms":[{"memberID":"1","alarm":"NOSPACE"}]}`))
	f.Add([]byte(`{"header":{},"alarms":[{}]}`))
	f.Add([]byte(`{"alarms":[{"alarm":"\u001b[2J"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if kind := parseAlarms(data); kind != printable(kind) {
			t.Errorf("%q cannot be shown", kind)
		}
	})
}
