package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/cmd/internal/doctor"
	"kvmctl/configs"
	"kvmctl/internal/flock"
	"kvmctl/netbridge"
	"kvmctl/vm"
	"kvmctl/vm/image"
)

type doctorOptions struct {
	fix  bool
	json bool
}

func newDoctor(a *app) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [--fix] [--json]",
		Short: "Examine the host and its guests, and say what to type",
		Long: `Examine the host and its guests: whether KVM really runs a guest (a small one is run and timed), nesting,
mistakes in files, guests that crashed, hang or were left half started, images, kernels and hooks that
are missing or not root's, MAC addresses and uids that collide, limits, bridge-nf-call-*, space, what
killed commands left behind, QEMUs that kvmctl did not start, and the clock.

Each line is ok, note, warning or error; warnings and errors say what to type. --fix does only what
cannot do harm: it clears away guests that ended and runs the hooks of their ends, and removes locks,
TAPs and unfinished images that nobody has open; it says what it did. Like every command that looks,
doctor notes the end of a guest that ended unseen. Exit code 1 if a warning or an error is left.`,
		Example: `  kvmctl doctor
  kvmctl doctor --fix
  kvmctl doctor --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDoctor(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.fix, "fix", false, "mend what can be mended without a risk")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (a *app) runDoctor(ctx context.Context, o doctorOptions) error {
	if err := a.needRoot("examine the host"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	facts, err := a.gather(ctx, s)
	if err != nil {
		return fmt.Errorf("cannot examine the host: %w", err)
	}
	all := doctor.Judge(facts)
	if o.fix {
		a.fixAll(ctx, s, facts, all)
	}
	for i := range all {
		all[i].Type = a.env.Again(all[i].Type)
	}
	if o.json {
		err = a.env.JSON(all)
	} else {
		_, err = a.env.Out.Write([]byte(doctor.Text(all)))
	}
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Level.Calls() && f.Fixed == "" {
			return &cli.QuietError{ExitCode: cli.ExitFailed}
		}
	}
	return nil
}

// fixAll does what is safe, and writes into each finding what came of it.
func (a *app) fixAll(ctx context.Context, s *configs.Site, facts *doctor.Facts, all []doctor.Finding) {
	for i := range all {
		f := &all[i]
		if f.Fix == nil {
			continue
		}
		did, err := a.fix(ctx, s, facts, *f.Fix)
		if err != nil {
			f.Failed = err.Error()
			continue
		}
		f.Fixed = did
	}
}

// fix does one safe act and says what it did.
func (a *app) fix(ctx context.Context, s *configs.Site, facts *doctor.Facts, x doctor.Fix) (string, error) {
	switch x.Act {
	case doctor.ClearAway:
		notes, err := a.host(s, "doctor").Notice(ctx, x.Object)
		return strings.Join(append([]string{"cleared away, its hooks are run"}, notes...), "; "), err
	case doctor.DropLock:
		return "removed", dropLock(x.Object)
	case doctor.DropTAP:
		return "removed", a.dropTAP(ctx, s, facts, x.Object)
	case doctor.DropImages:
		removed, err := image.CleanTemp(x.Object)
		return "removed " + strings.Join(removed, ", "), err
	}
	return "", fmt.Errorf("unknown act %q", x.Act)
}

// dropLock removes a lock file while it holds it: whoever waits for it opens it anew.
func dropLock(path string) error {
	l, err := flock.TryLock(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(path), l.Unlock())
}

// dropTAP removes a TAP under its guest's lock, so that no start is opening it at the moment.
func (a *app) dropTAP(ctx context.Context, s *configs.Site, facts *doctor.Facts, name string) error {
	for _, t := range facts.TAPs {
		if t.Name != name {
			continue
		}
		return a.host(s, "doctor").WithLock(ctx, t.Guest, "doctor", func(running bool) error {
			if running || len(tapHolders(name)) > 0 {
				return &vm.ForeignError{Path: name, What: "is in use by now"}
			}
			k, err := netbridge.NewKernel()
			if err != nil {
				return err
			}
			defer k.Close()
			if err := k.DeleteTAP(ctx, name, t.Alias); err != nil {
				return err
			}
			if _, err := s.Guest(t.Guest); err != nil { // there is no such guest, and the lock was made for this
				return os.Remove(a.layout().GuestLock(t.Guest))
			}
			return nil
		})
	}
	return nil
}
