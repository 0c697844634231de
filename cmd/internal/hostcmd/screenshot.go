package hostcmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type screenshotOptions struct{ name, file string }

func newScreenshot(a *app) *cobra.Command {
	var o screenshotOptions
	return &cobra.Command{
		Use:   "screenshot <vm> <file.png>",
		Short: "Save what a guest's screen shows as a PNG",
		Long: `Save what a guest's screen shows as a PNG; - writes it to stdout. A paused guest has a screen, too.

The file appears whole or not at all. An earlier PNG of that name is replaced; anything else
(a directory, a device, a symbolic link) is left alone.`,
		Example: `  kvmctl screenshot vm-olorin olorin.png
  kvmctl screenshot vm-olorin - | display`,
		Args: args(cobra.ExactArgs(2)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"png"}, cobra.ShellCompDirectiveFilterFileExt
			}
			return a.completeGuest(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name, o.file = args[0], args[1]
			return a.runScreenshot(cmd.Context(), o)
		},
	}
}

func (a *app) runScreenshot(ctx context.Context, o screenshotOptions) error {
	const act = "take a screenshot of"
	if _, tty := a.env.OutTerminal(); tty && o.file == "-" {
		return cli.Usage("kvmctl screenshot "+o.name+" screen.png", "cannot %s %s: a PNG does not belong on a terminal", act, o.name)
	}
	g, err := a.meet(ctx, o.name, "screenshot", act)
	if err != nil {
		return err
	}
	if o.file == "-" {
		err = a.screenshotTo(ctx, g, a.env.Out)
	} else {
		err = a.screenshotFile(ctx, g, o.file)
	}
	if err != nil {
		return unreachable(act, o.name, err)
	}
	return nil
}

// OccupiedError says that something that is no file of the admin's stands where the picture should go.
type OccupiedError struct {
	Path string
	Mode fs.FileMode
}

func (e *OccupiedError) Error() string {
	what := "something else"
	switch {
	case e.Mode.IsDir():
		what = "a directory"
	case e.Mode&fs.ModeSymlink != 0:
		what = "a symbolic link"
	case e.Mode&fs.ModeDevice != 0:
		what = "a device"
	}
	return fmt.Sprintf("%s is %s, not a regular file", e.Path, what)
}

// Refused marks the error as a refusal for safety.
func (e *OccupiedError) Refused() bool { return true }

// Hint says what to do.
func (e *OccupiedError) Hint() string { return "name another file" }

// isPNG tells of an earlier picture, the only kind of file that a new one replaces.
func isPNG(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 8)
	_, err = f.ReadAt(magic, 0)
	return err == nil && string(magic) == "\x89PNG\r\n\x1a\n" // RFC 2083, 3.1
}

// screenshotFile puts the picture beside its place and then there, so that nobody ever meets a half one.
func (a *app) screenshotFile(ctx context.Context, g *seen, path string) error {
	st, err := os.Lstat(path)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return &OccupiedError{path, st.Mode()}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && st.Size() > 0 && !isPNG(path):
		return cli.Refused("name another file", "%s is there and no PNG, and would be lost", path)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-"+rand.Text()[:8])
	defer os.Remove(tmp) // does nothing after the rename
	if err := takeScreenshot(ctx, g, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	a.env.Talk("%s: screenshot in %s", g.Name, path)
	return nil
}

func (a *app) screenshotTo(ctx context.Context, g *seen, w io.Writer) error {
	dir, err := os.MkdirTemp("", "kvmctl-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, "screen.png")
	if err := takeScreenshot(ctx, g, tmp); err != nil {
		return err
	}
	f, err := os.Open(tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// takeScreenshot makes the file path, which must not exist, and believes the picture only when it is a whole one.
func takeScreenshot(ctx context.Context, g *seen, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = g.host.Screenshot(ctx, g.Name, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	got, err := os.Open(path)
	if err != nil {
		return err
	}
	defer got.Close()
	st, err := got.Stat()
	if err != nil {
		return err
	}
	if err := vm.CheckPNG(got, st.Size()); err != nil {
		return fmt.Errorf("read back what QEMU wrote: %w", err)
	}
	return nil
}
