package hostcmd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

type deleteOptions struct {
	name   string
	disks  bool
	images []string // --image, made absolute
	yes    bool
}

func newDelete(a *app) *cobra.Command {
	var o deleteOptions
	cmd := &cobra.Command{
		Use:   "delete <vm> [--disks] [--image PATH]... [--yes]",
		Short: "Delete a guest; its disks are kept unless asked otherwise",
		Long: `Delete a stopped guest: its vm.toml, what was pinned at its first start, its history and logs.
Its disks stay, and whatever else lies in its two folders; their paths are printed, one a line. The seed
of kvmctl install --cloud-init goes: passwords may be in it. It stays only if a disk is that file, or
another guest may have it.

--disks deletes the images in its own folder below /var/lib/kvm, and its UEFI variables, too.
An image elsewhere goes only if --image names it. One that another guest has or is based on is
never deleted. On a terminal kvmctl asks before, for disks by the guest's name; without a
terminal deleting disks needs --yes.`,
		Example: `  kvmctl delete vm-olorin
  kvmctl delete vm-olorin --disks
  kvmctl delete vm-olorin --disks --image /srv/data.qcow2 --yes`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.name = names[0]
			return a.runDelete(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.disks, "disks", false, "delete the images in its own folder too")
	cmd.Flags().StringArrayVar(&o.images, "image", nil, "delete this image of the guest's too, wherever it is (repeatable)")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) runDelete(ctx context.Context, o deleteOptions) error {
	if err := a.needRoot("delete a guest"); err != nil {
		return err
	}
	if err := configs.CheckName(o.name); err != nil {
		return usable("delete", o.name, err)
	}
	for i, path := range o.images {
		abs, err := filepath.Abs(path)
		if err != nil {
			return cli.Usage("", "cannot delete %s: --image: %w", o.name, err)
		}
		o.images[i] = abs
	}
	plan, s, err := a.planDelete(ctx, o)
	if err != nil {
		return deleteFailed(o.name, err)
	}
	h := a.host(s, "delete")
	if st := h.Status(ctx, []string{o.name})[0]; st.PID > 0 {
		return deleteFailed(o.name, runs(o.name))
	}
	a.sayFollowers(s, o.name)
	if err := a.confirmDelete(o, plan); err != nil {
		return err
	}
	l := a.layout()
	if present(l.RunDir(o.name)) { // what its end is noted in may be gone already
		if err := vm.MakeDirs(l.GuestLibDir(o.name), 0o711); err != nil {
			return deleteFailed(o.name, err)
		}
	}
	var kept []string
	seed := ""
	err = h.WithLock(ctx, o.name, "delete", func(running bool) (err error) {
		if running {
			return runs(o.name)
		}
		now, _, err := a.planDelete(ctx, o) // the world may have moved while we asked
		if err != nil {
			return err
		}
		if !slices.Equal(now.images, plan.images) {
			return cli.Refused("kvmctl delete "+o.name, "its images changed meanwhile")
		}
		if err := now.unused(ctx); err != nil {
			return err
		}
		seed = now.seed
		kept, err = now.carryOut(l, o.name)
		return err
	})
	if err != nil {
		return deleteFailed(o.name, a.inUse(ctx, h, imageError(err)))
	}
	for _, path := range plan.images {
		a.env.Talk("image %s deleted", path)
	}
	if seed != "" {
		a.env.Talk("seed %s deleted", seed)
	}
	done := "deleted"
	if plan.again {
		done = "is deleted already"
	}
	if len(kept) == 0 {
		a.env.Talk("%s %s; nothing of it is left", o.name, done)
		return nil
	}
	a.env.Talk("%s %s; kept:", o.name, done)
	for _, path := range kept {
		a.env.Print("%s\n", path)
	}
	return nil
}

func runs(name string) error { return cli.Refused("kvmctl stop "+name, "it runs") }

func deleteFailed(name string, err error) error {
	return permission(fmt.Errorf("cannot delete %s: %w", name, err))
}

// sayFollowers warns of guests that will have a mistake in their files from now on.
func (a *app) sayFollowers(s *configs.Site, name string) {
	for _, g := range s.Guests {
		if g.Spec.Name != name && slices.Contains(g.Spec.After, name) {
			a.env.Talk("%s starts after %s: take it out of %s, or it will not start", g.Spec.Name, name, g.File)
		}
	}
}

// commandLine is what was typed, as far as it matters.
func (o deleteOptions) commandLine() string {
	words := []string{"kvmctl", "delete", o.name}
	if o.disks {
		words = append(words, "--disks")
	}
	for _, path := range o.images {
		words = append(words, "--image", path)
	}
	return vm.CommandLine(words)
}

// confirmDelete asks on a terminal, for images by the guest's name: a habit of typing y must not cost data.
func (a *app) confirmDelete(o deleteOptions, plan *deletePlan) error {
	if o.yes {
		return nil
	}
	destroys := o.disks || len(o.images) > 0
	if _, ok := a.env.InTerminal(); !ok {
		if destroys {
			return cli.Refused(o.commandLine()+" --yes", "cannot delete %s: nobody is there to confirm the loss of its disks", o.name)
		}
		return nil
	}
	question, wanted := fmt.Sprintf("delete %s and keep its disks? [y/N] ", o.name), []string{"y", "yes"}
	if destroys {
		for _, path := range plan.images {
			fmt.Fprintf(a.env.Err, "  %s\n", cli.Printable(path))
		}
		question, wanted = fmt.Sprintf("delete %s and %s for ever? Type its name: ", o.name, count(len(plan.images), "image")), []string{o.name}
	}
	fmt.Fprint(a.env.Err, question)
	answer, err := bufio.NewReader(io.LimitReader(a.env.In, 256)).ReadString('\n')
	if err != nil || !slices.Contains(wanted, strings.ToLower(strings.TrimSpace(answer))) {
		return cli.Failed(o.commandLine()+" --yes", "cannot delete %s: not confirmed", o.name)
	}
	return nil
}
