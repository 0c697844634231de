package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kvmctl/internal/testenv"
)

func TestAHookIsRefusedWhereOthersCouldSwapIt(t *testing.T) {
	testenv.Need(t, testenv.Netns) // root: whose directories they are is the point
	for _, tt := range []struct {
		name    string
		mode    os.FileMode
		uid     int
		refused bool
	}{
		{"root's directory", 0o755, 0, false},
		{"anybody's directory", 0o777, 0, true},
		{"a group's directory", 0o775, 0, true},
		{"a sticky directory, like /tmp", 0o777 | os.ModeSticky, 0, false},
		{"somebody's own directory", 0o755, 65534, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hooks")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "pre_start")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Chmod(path, 0o755), os.Chmod(dir, tt.mode), os.Chown(dir, tt.uid, tt.uid)); err != nil {
				t.Fatal(err)
			}
			var foreign *ForeignError
			err := HookAllowed(path)
			if errors.As(err, &foreign) != tt.refused || !tt.refused && err != nil {
				t.Errorf("got %v; refused: want %v", err, tt.refused)
			}
		})
	}
}
