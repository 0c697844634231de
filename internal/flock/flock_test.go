package flock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A child stands for one that another thread forks at this moment, and that has not come to its exec.
func TestALockThatAChildInherited(t *testing.T) {
	for name, c := range map[string]struct {
		give func(*Lock) error
		want error
	}{
		"is free after Unlock":           {(*Lock).Unlock, nil},
		"is the child's own after Leave": {(*Lock).Leave, ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			l, err := TryLock(path)
			if err != nil {
				t.Fatal(err)
			}
			child := exec.Command("cat")
			child.ExtraFiles = []*os.File{l.File()}
			until, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			if err := c.give(l); err != nil {
				t.Fatal(err)
			}
			again, err := TryLock(path)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if again != nil {
				again.Unlock()
			}
			until.Close()
			if err := child.Wait(); err != nil {
				t.Fatal(err)
			}
			if l, err = TryLock(path); err != nil {
				t.Fatalf("after the child's end: %v", err)
			}
			l.Unlock()
		})
	}
}
