package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/mountinfo"
	"kvmctl/vm/image/mount"
)

func newImageUmount(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "umount DIR|<vm>[:<disk>]|FILE",
		Short: "End the mount of an image, and bring what was written into it",
		Long: `End what kvmctl image mount began: on a directory, or all mounts of an image or of a guest's images.
When it returns, everything that was written is in the image and its guest may start.

While somebody has a file open below the directory nothing is changed. What is not mounted is left so.`,
		Example: `  kvmctl image umount /mnt
  kvmctl image umount vm-olorin`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeMounts,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runImageUmount(cmd.Context(), args[0]) },
	}
}

func (a *app) runImageUmount(ctx context.Context, arg string) error {
	if err := a.needRoot("unmount an image"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	m := a.mounts(s)
	list, err := m.List()
	if err != nil {
		return fmt.Errorf("cannot unmount %s: %w", arg, err)
	}
	path, err := filepath.Abs(arg)
	if err != nil {
		return fmt.Errorf("cannot unmount %s: %w", arg, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	on := func(r mount.Record) bool { return r.Dir == path }
	if !slices.ContainsFunc(list, on) {
		if err := foreignMount(path); err != nil {
			return fmt.Errorf("cannot unmount %s: %w", arg, err)
		}
		if st, err := os.Stat(path); err == nil && st.IsDir() && strings.Contains(arg, "/") {
			a.env.Talk("nothing is mounted on %s", path)
			return nil
		}
		targets, err := a.imageTargets(ctx, s, arg, "unmount", "")
		if err != nil {
			return err
		}
		on = func(r mount.Record) bool {
			return slices.ContainsFunc(targets, func(t target) bool { return mount.SameFile(t.path, r.Image) })
		}
	}
	var errs []error
	done := false
	for _, r := range list {
		if !on(r) {
			continue
		}
		done = true
		if err := m.Umount(ctx, r.ID); err != nil {
			errs = append(errs, umountFailed(r, err))
			continue
		}
		a.env.Talk("image %s is unmounted from %s", r.Image, r.Dir)
	}
	if !done {
		a.env.Talk("%s is not mounted", arg)
	}
	return errors.Join(errs...)
}

// umountFailed: a mount that is gone, with something lost on the way, is done but not cleanly.
func umountFailed(r mount.Record, err error) error {
	var lost *mount.LostError
	if errors.As(err, &lost) {
		return cli.WithCode(fmt.Errorf("cannot call the mount on %s cleanly ended: %w", r.Dir, err), cli.ExitUnclean)
	}
	return fmt.Errorf("cannot unmount %s: %w", r.Dir, err)
}

// foreignMount refuses what somebody else mounted.
func foreignMount(path string) error {
	table, err := mountinfo.Read()
	if err != nil {
		return err
	}
	for _, e := range table {
		if e.Point == path {
			return cli.Refused("umount "+path, "kvmctl did not mount it: it is %s", e.Source)
		}
	}
	return nil
}

// completeMounts completes the directories that images are mounted on, and guests' names.
func (a *app) completeMounts(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := a.mounts(nil).List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, r := range list {
		if strings.HasPrefix(r.Dir, toComplete) {
			words = append(words, cobra.CompletionWithDesc(r.Dir, r.Image))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
