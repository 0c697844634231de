package hostcmd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/units"
	"kvmctl/vm"
)

type imageResizeOptions struct {
	image  string
	size   string // "20G", or "+10G" for growth
	shrink bool
	yes    bool
}

func newImageResize(a *app) *cobra.Command {
	var o imageResizeOptions
	cmd := &cobra.Command{
		Use:   "resize <vm>[:<disk>]|FILE [+]SIZE [--shrink [--yes]]",
		Short: "Make an image larger, or with --shrink smaller",
		Long: `Give an image the size that its guest is to see; +SIZE grows it by so much. The guest must not run.
Its partitions and file systems are the guest's own business: it grows them afterwards, and with
--shrink it must have made them smaller before, or what lies beyond the new end is lost. On a
terminal kvmctl asks before it shrinks; without one --shrink needs --yes.

The size in vm.toml is that at the image's making and is not changed.`,
		Example: `  kvmctl image resize vm-olorin +10G
  kvmctl image resize vm-olorin:1 20G
  kvmctl image resize ./data.qcow2 5G --shrink --yes`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: a.completeImage,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.image, o.size = args[0], args[1]
			return a.runImageResize(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.shrink, "shrink", false, "throw the end of the image away")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) runImageResize(ctx context.Context, o imageResizeOptions) error {
	digits, grow := strings.CutPrefix(o.size, "+")
	size, err := units.ParseSize(digits)
	if err != nil {
		return cli.Usage("kvmctl image resize "+o.image+" +1G", "cannot resize %s: %w", o.image, err)
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	t, err := a.oneTarget(ctx, s, o.image, "resize", "")
	if err != nil {
		return err
	}
	if len(t.users) > 0 {
		if err := a.needRoot("resize the image of a guest"); err != nil {
			return err
		}
	}
	h := a.host(s, "image resize")
	asked, now, err := resized(ctx, t, size, grow) // asking takes a person's time, in which nobody should wait for a lock
	if err == nil && o.shrink && now < asked {
		err = a.confirmShrink(o, t, asked, now)
	}
	if err != nil {
		return permission(fmt.Errorf("cannot resize %s: %w", o.image, err))
	}
	var was units.Size
	err = a.exclusively(ctx, h, t, "image resize", func() (err error) {
		if err := a.notUnder(ctx, s, t.path); err != nil {
			return err
		}
		if was, now, err = resized(ctx, t, size, grow); err != nil {
			return err
		}
		if was != asked {
			return cli.Refused(o.commandLine(), "its size changed meanwhile, from %v to %v", asked, was)
		}
		return imageTool().Resize(ctx, t.path, t.format, now, o.shrink)
	})
	if err != nil {
		return permission(fmt.Errorf("cannot resize %s: %w", o.image, err))
	}
	if was == now {
		a.env.Talk("image %s has %v already", t.path, now)
		return nil
	}
	a.env.Talk("image %s resized from %v to %v", t.path, was, now)
	for _, u := range t.users {
		a.sayOldSize(s, u, now)
	}
	return nil
}

// resized gives an image's size and the one that it is to have.
func resized(ctx context.Context, t target, size units.Size, grow bool) (was, now units.Size, err error) {
	info, err := imageTool().Info(ctx, t.path, t.format)
	if err != nil {
		return 0, 0, err
	}
	if !grow {
		return info.VirtualSize, size, nil
	}
	if size > math.MaxInt64-info.VirtualSize {
		return 0, 0, cli.Usage("", "+%v more than %v is too large", size, info.VirtualSize)
	}
	return info.VirtualSize, info.VirtualSize + size, nil
}

// commandLine is what was typed, as far as it matters.
func (o imageResizeOptions) commandLine() string {
	words := []string{"kvmctl", "image", "resize", o.image, o.size}
	if o.shrink {
		words = append(words, "--shrink")
	}
	return vm.CommandLine(words)
}

// confirmShrink asks on a terminal for the new size: a habit of typing y must not cost data.
func (a *app) confirmShrink(o imageResizeOptions, t target, was, now units.Size) error {
	if o.yes {
		return nil
	}
	if _, ok := a.env.InTerminal(); !ok {
		return cli.Refused(o.commandLine()+" --yes", "nobody is there to confirm the loss of the last %v", was-now)
	}
	fmt.Fprintf(a.env.Err, "  %s\nthrow away the last %v of %v for ever? Type the new size, %v: ", cli.Printable(t.path), was-now, was, now)
	answer, err := bufio.NewReader(io.LimitReader(a.env.In, 256)).ReadString('\n')
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), now.String()) {
		return cli.Failed(o.commandLine()+" --yes", "not confirmed")
	}
	return nil
}

// sayOldSize: vm.toml is the admin's, with comments and an order of his own; its size only records what create made.
func (a *app) sayOldSize(s *configs.Site, u diskOf, now units.Size) {
	g, err := s.Guest(u.guest)
	if err != nil || g.Spec.Disks[u.disk].Size == 0 || g.Spec.Disks[u.disk].Size == now {
		return
	}
	a.env.Talk("  %s still says size = %q: that records its making and has no effect", g.File, g.Spec.Disks[u.disk].Size.String())
}

// notUnder refuses to change an image that another image of a guest's is based on.
func (a *app) notUnder(ctx context.Context, s *configs.Site, path string) error {
	for _, use := range imageUses(ctx, s, "") {
		if use.over(path) {
			return cli.Refused("kvmctl image info "+use.guest, "the image %s of %s is based on it", use.links[0], use.guest)
		}
	}
	return nil
}
