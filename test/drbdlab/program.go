package drbdlab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Program compiles a command of this module for the guests, static, and gives its bytes.
func Program(ctx context.Context, pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "drbdlab")
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pkg, err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "program")
	build := exec.CommandContext(ctx, "go", "build", "-o", out, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w: %s", pkg, err, said)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pkg, err)
	}
	return program, nil
}
