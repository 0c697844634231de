package hostcmd

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/units"
	"kvmctl/vm/image"
)

type imageCreateOptions struct {
	file          string
	size          string // empty: the backing image's
	format        string
	preallocation string
	backing       string
	backingFormat string
}

func newImageCreate(a *app) *cobra.Command {
	var o imageCreateOptions
	cmd := &cobra.Command{
		Use:   "create FILE [SIZE] [--format qcow2|raw] [--preallocation MODE] [--backing FILE]",
		Short: "Make a disk image",
		Long: `Make a disk image. It appears under its name when it is complete; nothing is ever overwritten.

With --backing it holds only what will differ from that image, which must not change any more,
and SIZE may be left out. The format of a file that is no guest's is read from its header, unless
--backing-format names it.`,
		Example: `  kvmctl image create /srv/data.qcow2 20G
  kvmctl image create /srv/fast.raw 20G --format raw --preallocation falloc
  kvmctl image create /var/lib/kvm/vm-varda/disk0.qcow2 --backing /srv/debian.qcow2`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			if len(args) > 1 {
				o.size = args[1]
			}
			return a.runImageCreate(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", image.QCOW2, "qcow2 or raw")
	f.StringVar(&o.preallocation, "preallocation", "off", "off, metadata, falloc or full")
	f.StringVar(&o.backing, "backing", "", "begin with the content of this image")
	f.StringVar(&o.backingFormat, "backing-format", "", "the format of the backing image: qcow2 or raw")
	_ = cmd.RegisterFlagCompletionFunc("format", completeFormats)
	_ = cmd.RegisterFlagCompletionFunc("backing-format", completeFormats)
	_ = cmd.RegisterFlagCompletionFunc("preallocation", cobra.FixedCompletions([]string{"off", "metadata", "falloc", "full"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var completeFormats = cobra.FixedCompletions([]string{image.QCOW2, image.Raw}, cobra.ShellCompDirectiveNoFileComp)

func (a *app) runImageCreate(ctx context.Context, o imageCreateOptions) error {
	opts := image.CreateOptions{Format: o.format, Preallocation: image.Preallocation(o.preallocation), BackingFormat: o.backingFormat}
	var err error
	if opts.Path, err = filepath.Abs(o.file); err != nil {
		return fmt.Errorf("cannot create image %s: %w", o.file, err)
	}
	switch {
	case o.size != "":
		if opts.Size, err = units.ParseSize(o.size); err != nil {
			return cli.Usage("kvmctl image create "+o.file+" 8G", "cannot create image %s: %w", o.file, err)
		}
	case o.backing == "":
		return cli.Usage("kvmctl image create "+o.file+" 8G", "cannot create image %s: it needs a size", o.file)
	}
	if o.backing != "" {
		s, err := a.site(ctx)
		if err != nil {
			return err
		}
		t, err := fileTarget(ctx, s, o.backing, o.backingFormat)
		if err != nil {
			return permission(fmt.Errorf("cannot create image %s: backing file: %w", o.file, imageError(err)))
		}
		if err := a.trusted(ctx, t, "--backing-format "+t.format); err != nil {
			return fmt.Errorf("cannot create image %s: %w", o.file, err)
		}
		opts.Backing, opts.BackingFormat = t.path, t.format
	}
	bar := a.progress("making " + filepath.Base(opts.Path))
	err = imageTool().Create(ctx, opts, bar.set)
	bar.end()
	if err != nil {
		return permission(fmt.Errorf("cannot create an image: %w", imageError(err)))
	}
	info, err := imageTool().Info(ctx, opts.Path, opts.Format)
	if err != nil {
		return fmt.Errorf("cannot examine image %s: %w", o.file, err)
	}
	a.env.Talk("image %s created: %s, %v", opts.Path, info.Format, info.VirtualSize)
	return nil
}

// trusted refuses an image that only its header calls a qcow2 and that has a backing file: whoever wrote the header could
// name any file of this host there, and the new image would show it to a guest.
func (a *app) trusted(ctx context.Context, t target, flag string) error {
	if !t.guessed {
		return nil
	}
	info, err := imageTool().Info(ctx, t.path, t.format)
	if err != nil {
		return err
	}
	if info.Backing == "" {
		return nil
	}
	return cli.Refused(flag+", if you made that image yourself",
		"image %s says by itself that its content is in %q too", t.path, info.Backing)
}
