package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAnImageIsBasedOnlyOnWhatAnyoneMayReadOrLiesBesideIt(t *testing.T) {
	home, elsewhere := t.TempDir(), t.TempDir()
	put := func(path string, mode os.FileMode) string {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return path
	}
	image := put(filepath.Join(home, "disk0.qcow2"), 0o600)
	beside := put(filepath.Join(home, "base.qcow2"), 0o600)
	public := put(filepath.Join(elsewhere, "base.qcow2"), 0o644)
	secret := put(filepath.Join(elsewhere, "shadow"), 0o640)
	disguised := filepath.Join(home, "innocent.qcow2")
	if err := os.Symlink(secret, disguised); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, backing string
		refused       bool
	}{
		{"beside it, root's alone", beside, false},
		{"elsewhere, everybody's", public, false},
		{"elsewhere, root's alone", secret, true},
		{"a symlink beside it to a secret", disguised, true},
		{"a device", "/dev/null", true},
		{"a directory", elsewhere, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var refused *BackingError
			err := backingAllowed(image, tt.backing)
			if errors.As(err, &refused) != tt.refused || !tt.refused && err != nil {
				t.Errorf("got %v; refused: want %v", err, tt.refused)
			}
		})
	}
}
