package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm/image"
)

func newImageCheck(a *app) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "check <vm>|FILE [--repair]",
		Short: "Find damage in an image's own tables",
		Long: `Examine the tables of a qcow2 image, or of all images of a guest, which must not run. What the guest
wrote into it is not looked at. Leaked clusters waste room; corruptions endanger data.

--repair mends what can be mended. Copy a damaged image first.`,
		Example: `  kvmctl image check vm-olorin
  kvmctl image check /srv/data.qcow2 --repair`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeImage,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runImageCheck(cmd.Context(), args[0], repair) },
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what is found")
	return cmd
}

func (a *app) runImageCheck(ctx context.Context, arg string, repair bool) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	targets, err := a.imageTargets(ctx, s, arg, "check", "")
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		a.env.Talk("%s has no disk", arg)
	}
	var errs []error
	for _, t := range targets {
		errs = append(errs, a.checkImage(ctx, s, t, arg, repair))
	}
	return errors.Join(errs...)
}

func (a *app) checkImage(ctx context.Context, s *configs.Site, t target, arg string, repair bool) error {
	if len(t.users) > 0 {
		if err := a.needRoot("check the image of a guest"); err != nil {
			return err
		}
	}
	h := a.host(s, "image check")
	var report image.CheckReport
	err := a.exclusively(ctx, h, t, "image check", func() (err error) {
		report, err = imageTool().Check(ctx, t.path, t.format, repair)
		return err
	})
	switch {
	case errors.Is(err, image.ErrNoCheck):
		a.env.Talk("image %s is raw: it has no tables to check", t.path)
		return nil
	case err != nil:
		return permission(fmt.Errorf("cannot check %s: %w", arg, err))
	}
	if fixed := counts(report.FixedCorruptions, report.FixedLeaks, 0); fixed != "" {
		a.env.Talk("image %s: mended %s", t.path, fixed)
	}
	if !report.Clean() {
		hint := "kvmctl image check --repair " + t.path
		if repair {
			hint = "take it from a backup, or what can be read of it: kvmctl image convert " + t.path + " NEW.qcow2"
		}
		return cli.Failed(hint, "cannot call image %s sound: %s", t.path, counts(report.Corruptions, report.Leaks, report.Errors))
	}
	a.env.Talk("image %s is sound", t.path)
	return nil
}

func counts(corruptions, leaks, errs int64) string {
	var words []string
	for _, c := range []struct {
		n         int64
		one, many string
	}{{corruptions, "corruption", "corruptions"}, {leaks, "leaked cluster", "leaked clusters"}, {errs, "place that could not be examined", "places that could not be examined"}} {
		switch {
		case c.n == 1:
			words = append(words, "1 "+c.one)
		case c.n > 1:
			words = append(words, fmt.Sprintf("%d %s", c.n, c.many))
		}
	}
	return strings.Join(words, ", ")
}
