package hostcmd

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"kvmctl/vm/image"
)

type imageConvertOptions struct {
	source, path string
	format, from string
}

func newImageConvert(a *app) *cobra.Command {
	var o imageConvertOptions
	cmd := &cobra.Command{
		Use:   "convert <vm>[:<disk>]|SRC DST [--format qcow2|raw]",
		Short: "Copy an image into another format",
		Long: `Copy an image, with what it is based on, into a new one that stands by itself. The guest must not run.
The copy appears under its name when it is complete; nothing is ever overwritten.

SRC may also be qcow, qed, vdi, vhdx, vmdk, vpc or parallels. Its format is its guest's word for it,
else what its header says, unless --from names it.`,
		Example: `  kvmctl image convert vm-olorin /backup/olorin.qcow2
  kvmctl image convert ./appliance.vmdk /srv/appliance.qcow2
  kvmctl image convert ./disk.img ./disk.raw --from raw --format raw`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeImage,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.source, o.path = args[0], args[1]
			return a.runImageConvert(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.format, "format", image.QCOW2, "format of the copy: qcow2 or raw")
	cmd.Flags().StringVar(&o.from, "from", "", "format of SRC")
	_ = cmd.RegisterFlagCompletionFunc("format", completeFormats)
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"qcow2", "raw", "qcow", "qed", "vdi", "vhdx", "vmdk", "vpc", "parallels"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) runImageConvert(ctx context.Context, o imageConvertOptions) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	t, err := a.oneTarget(ctx, s, o.source, "convert", o.from)
	if err != nil {
		return err
	}
	path, err := filepath.Abs(o.path)
	if err != nil {
		return fmt.Errorf("cannot convert %s: %w", o.source, err)
	}
	if len(t.users) > 0 {
		if err := a.needRoot("convert the image of a guest"); err != nil {
			return err
		}
	}
	h := a.host(s, "image convert")
	err = a.exclusively(ctx, h, t, "image convert", func() error {
		if err := a.trusted(ctx, t, "--from "+t.format); err != nil {
			return err
		}
		bar := a.progress("converting " + filepath.Base(t.path))
		defer bar.end()
		return imageTool().Convert(ctx, image.ConvertOptions{Source: t.path, SourceFormat: t.format, Path: path, Format: o.format}, bar.set)
	})
	if err != nil {
		return permission(fmt.Errorf("cannot convert %s: %w", o.source, err))
	}
	info, err := imageTool().Info(ctx, path, o.format)
	if err != nil {
		return fmt.Errorf("cannot examine image %s: %w", path, err)
	}
	a.env.Talk("image %s converted to %s: %s, %v", t.path, path, info.Format, info.VirtualSize)
	return nil
}
