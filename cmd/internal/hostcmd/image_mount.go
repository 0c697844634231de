package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
	"kvmctl/vm/image/mount"
)

type imageMountOptions struct {
	image, dir string
	part       string
	rw         bool
	json       bool
}

func newImageMount(a *app) *cobra.Command {
	var o imageMountOptions
	cmd := &cobra.Command{
		Use:   "mount [<vm>[:<disk>]|FILE DIR] [--part N] [--rw] [--json]",
		Short: "Mount a file system of an image on a directory of the host",
		Long: `Mount a partition of an image on DIR, an empty directory, for reading; with --rw for writing too.
Without --part the only partition that can be mounted is taken. Without any argument the mounts are
listed.

The image must not be in use, and while it is mounted no guest can start with it. Read-only, no
journal is replayed and not a byte of the image changes. Nothing below DIR is a device, setuid or
executable. What understands the image's format runs as a user without any rights: qemu-storage-daemon,
or where that is missing qemu-nbd, if the module nbd is loaded (best by modprobe nbd max_part=0).

UFS, of a FreeBSD guest, can only be read. End a mount with kvmctl image umount; one of which a part
is gone, because somebody unmounted it or killed its process, is undone by the next kvmctl command.`,
		Example: `  kvmctl image mount vm-olorin /mnt
  kvmctl image mount ./data.qcow2 /mnt --part 2 --rw
  kvmctl image mount --json`,
		Args: args(func(cmd *cobra.Command, got []string) error {
			if len(got) == 0 {
				return nil
			}
			return cobra.ExactArgs(2)(cmd, got)
		}),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return a.completeImage(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.runImageMounts(o)
			}
			o.image, o.dir = args[0], args[1]
			return a.runImageMount(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.part, "part", "", "mount this partition, as `kvmctl image parts` names it")
	cmd.Flags().BoolVar(&o.rw, "rw", false, "allow writing, and replay a journal that was not")
	cmd.Flags().BoolVar(&o.json, "json", false, "list the mounts as JSON")
	return cmd
}

// mounts gives what mounts images; s is nil for those who only look.
func (a *app) mounts(s *configs.Site) *mount.Manager {
	m := &mount.Manager{Layout: a.layout()}
	if s != nil {
		m.UIDBase, m.QEMU = s.Host.UIDBase, s.Host.QEMU
	}
	if a.verbose {
		m.Step = func(name string) { a.env.Talk("image mount: %s", name) }
	}
	return m
}

func (a *app) runImageMount(ctx context.Context, o imageMountOptions) error {
	if err := a.needRoot("mount an image"); err != nil {
		return err
	}
	if o.json {
		return cli.Usage("kvmctl image mount --json", "cannot mount %s: --json is for the list of mounts", o.image)
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	t, err := a.oneTarget(ctx, s, o.image, "mount", "")
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return fmt.Errorf("cannot mount %s: %w", o.image, err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // as the kernel names it
	}
	h := a.host(s, "image mount")
	var got *mount.Mounted
	err = a.exclusively(ctx, h, t, "image mount", func() (err error) {
		if o.rw {
			if err := a.notUnder(ctx, s, t.path); err != nil {
				return err
			}
		}
		got, err = a.mounts(s).Mount(ctx, mount.Request{Image: t.path, Format: t.format, Part: o.part, RW: o.rw, Dir: dir})
		return err
	})
	var which *mount.PartError
	var unfit *mount.UnmountableError
	switch {
	case errors.As(err, &which):
		hint := "kvmctl image parts " + o.image
		if option := which.Option(); option != "" {
			words := []string{"kvmctl", "image", "mount", o.image, o.dir}
			if o.rw {
				words = append(words, "--rw")
			}
			hint = vm.CommandLine(words) + " " + option
		}
		return cli.Usage(hint, "cannot mount %s: %w", o.image, err)
	case errors.As(err, &unfit):
		return cli.Failed("kvmctl image parts "+o.image, "cannot mount %s: %w", o.image, err)
	case err != nil:
		return permission(fmt.Errorf("cannot mount %s: %w", o.image, err))
	}
	a.sayMounted(got)
	return nil
}

func (a *app) sayMounted(got *mount.Mounted) {
	how := "read-only"
	if got.RW {
		how = "read-write"
	}
	already := ""
	if got.Already {
		already = "already "
	}
	part := ""
	if got.Part != "whole" {
		part = "partition " + got.Part + " of "
	}
	a.env.Talk("%simage %s (%s) is %smounted %s on %s", part, got.Image, got.FS, already, how, got.Dir)
}

// mountRow is a mount in `image mount --json`.
type mountRow struct {
	Image string    `json:"image"`
	Part  string    `json:"part"`
	FS    string    `json:"filesystem"`
	RW    bool      `json:"rw"`
	Dir   string    `json:"dir"`
	Made  time.Time `json:"made"`
}

func (a *app) runImageMounts(o imageMountOptions) error {
	if o.part != "" || o.rw {
		return cli.Usage("kvmctl image mount <vm>|FILE DIR", "cannot mount: no image is named")
	}
	if err := a.needRoot("list the mounts"); err != nil {
		return err
	}
	list, err := a.mounts(nil).List()
	if err != nil {
		return fmt.Errorf("cannot list the mounts: %w", err)
	}
	rows := make([]mountRow, 0, len(list))
	var cells [][]string
	for _, m := range list {
		mode := "ro"
		if m.RW {
			mode = "rw"
		}
		rows = append(rows, mountRow{m.Image, m.Part, m.FS, m.RW, m.Dir, m.Made})
		cells = append(cells, []string{m.Image, m.Part, m.FS, mode, m.Dir})
	}
	if o.json {
		return a.env.JSON(rows)
	}
	if len(rows) == 0 {
		a.env.Talk("no image is mounted")
		return nil
	}
	return cli.Table(a.env.Out, []string{"IMAGE", "PART", "FILESYSTEM", "MODE", "DIR"}, cells)
}

// mountOf finds the mount of an image, as the error that forbids using it otherwise; nil: none.
func (a *app) mountOf(images ...string) error {
	m := a.mounts(nil)
	if !m.Any() {
		return nil
	}
	list, err := m.List()
	if err != nil {
		return nil
	}
	for _, r := range list {
		for _, path := range images {
			if r.Has(path) {
				return &mount.MountedError{Mount: r}
			}
		}
	}
	return nil
}

// orMounted says of a guest that could not have its image that the image is mounted, where that is why.
func (a *app) orMounted(err error) error {
	var inUse *vm.ImageInUseError
	if errors.As(err, &inUse) {
		if m := a.mountOf(inUse.Images...); m != nil {
			return m
		}
	}
	return err
}

// settleMounts undoes what is left of mounts of which a part is gone. Without mounts it is one look at a directory.
func (a *app) settleMounts(ctx context.Context) {
	m := a.mounts(nil)
	if !m.Any() {
		return
	}
	torn, err := m.Settle(ctx)
	for _, t := range torn {
		var lost *mount.LostError
		switch {
		case errors.As(t.Err, &lost):
			a.env.Talk("%v", lost)
			a.env.Talk("hint: %s", lost.Hint())
		case t.Err != nil:
			a.env.Talk("the mount of %s: %s; cannot undo it: %v", t.Image, t.Reason, t.Err)
		case t.Dir != "": // else nobody ever saw it
			a.env.Talk("the mount of %s on %s is undone: %s", t.Image, t.Dir, t.Reason)
		}
	}
	if err != nil {
		a.env.Talk("cannot look after the mounted images: %v", err)
	}
}
