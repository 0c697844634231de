package image

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"

	"kvmctl/internal/runner"
)

// Tool is qemu-img. It never lets it guess: each image goes by a format that the caller names.
type Tool struct {
	QemuImg string // path or name; empty: "qemu-img"
	Runner  runner.Runner
}

// ToolError says that qemu-img ended without having done what it was told.
type ToolError struct {
	Act     string // "create", "resize", …
	Message string // its own words, on one line
	Exit    int    // -1 when a signal ended it
	Signal  syscall.Signal
}

func (e *ToolError) Error() string {
	how := fmt.Sprintf("exit %d", e.Exit)
	if e.Signal != 0 {
		how = "ended by " + e.Signal.String()
	}
	if e.Message == "" {
		return fmt.Sprintf("qemu-img %s: %s", e.Act, how)
	}
	return fmt.Sprintf("qemu-img %s: %s (%s)", e.Act, e.Message, how)
}

// run executes qemu-img and gives whatever it ended with. A path that came from a person must have gone through absolute.
func (t Tool) run(ctx context.Context, stdout io.Writer, args ...string) (runner.Result, error) {
	name := t.QemuImg
	if name == "" {
		name = "qemu-img"
	}
	return t.Runner.Run(ctx, runner.Command{Argv: append([]string{name}, args...), Stdout: stdout})
}

// do is run for commands that succeed or fail. rename is for the words of a failure: temporary names are our own business.
func (t Tool) do(ctx context.Context, stdout io.Writer, rename func(string) string, args ...string) error {
	r, err := t.run(ctx, stdout, args...)
	if err != nil {
		return err
	}
	if r.Exit != 0 {
		return toolError(args[0], r, rename)
	}
	return nil
}

func toolError(act string, r runner.Result, rename func(string) string) *ToolError {
	var lines []string
	for line := range strings.Lines(string(r.Stderr)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "qemu-img: ")
		if line != "" && !strings.HasPrefix(line, "warning: ") {
			lines = append(lines, line)
		}
	}
	message := strings.ToValidUTF8(strings.Join(lines, ": "), "?")
	if rename != nil {
		message = rename(message)
	}
	return &ToolError{Act: act, Message: message, Exit: r.Exit, Signal: r.Signal}
}

// absolute makes a path that qemu-img takes for a path: never for an option ("-x") or a URL ("nbd:x", "json:x").
func absolute(path string) (string, error) {
	if path == "" {
		return "", fmt.Errorf("image: empty path")
	}
	if filepath.IsAbs(path) {
		return path, nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", path, err)
	}
	return abs, nil
}
