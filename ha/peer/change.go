package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvmctl/internal/flock"
)

// The locks in the directory of the keys.
const (
	changeLock = "lock"        // held while a file is read to be changed: by the agent, and by kvmha pair
	rotateLock = "rotate.lock" // held by a rotation, which waits for other nodes
	changeWait = 5 * time.Second
)

// ErrRotating says that another kvmha pair --rotate is under way here.
var ErrRotating = errors.New("another change of this node's key is under way")

// change does what reads and writes the keys while nobody else does: a key that is forgotten must not come back because a request about it is being
// answered. What a program that was killed has left, which may be a copy of the secret key, is removed first.
func change(dir string, do func() error) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the keys: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), changeWait)
	defer cancel()
	l, err := flock.Wait(ctx, filepath.Join(dir, changeLock))
	if err != nil {
		return fmt.Errorf("change the keys in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	if err := sweep(dir); err != nil {
		return err
	}
	return do()
}

// sweep removes what was not finished; only its writer, who would have the lock, knows these names.
func sweep(dir string) error {
	all, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the keys: %w", err)
	}
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), ".tmp-") || e.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what was left unfinished: %w", err)
		}
	}
	return nil
}
