package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/drbd"
	"kvmctl/ha/drbd/control"
	"kvmctl/ha/drbd/overview"
)

func newDRBDVerify(a *app) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "verify [<resource>...]",
		Short: "Compare both sides of DRBD resources, block by block",
		Long: `Have the kernel compare what both sides have, block by block, while they are in use: of these resources one after the other, of all without a name. It is
refused unless both are connected and up to date, and drbd.conf has a verify-alg. Nothing is changed: blocks that differ are marked. On the primary, disconnect and
connect has them overwritten by what the primary has; where nobody is primary that does nothing, and a person has to choose a side.

An interruption does not end it: the kernel goes on, and kvmha drbd status shows how far it is; typed again, this command waits for its end. To break it off,
disconnect the resource and connect it again. One that was broken off is told as such, and the next one begins at the first block again.

With verify = "03:30" in a group of kvmha.toml the active node's agent does this every night, and mails the result.

Exit code 1 if something differs, or it could not be compared; 3 if it is refused. --json prints a list of what was compared, with the keys resource and
differs_kib.`,
		Example: `  kvmha drbd verify r0
  kvmha drbd verify r0 r1 --json`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runDRBDVerify(cmd.Context(), names, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// compared is the result of one verification.
type compared struct {
	Resource string `json:"resource"`
	Differs  uint64 `json:"differs_kib"`
}

func (a *app) runDRBDVerify(ctx context.Context, names []string, asJSON bool) error {
	views, err := a.drbdViews(ctx, "verify", names) // a name that is none is told before hours of work
	if err != nil {
		return err
	}
	if len(views) == 0 {
		return cli.Usage("kvmha drbd template --help", "cannot verify: drbd.conf has no resource for %s", a.drbdHost())
	}
	all := []compared{}
	var errs []error
	differ := false
	for _, v := range views {
		end, err := a.verify(ctx, v.Resource)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !asJSON:
			a.sayCompared(end)
			fallthrough
		default:
			all = append(all, compared{end.Resource, end.OutOfSync})
			differ = differ || end.OutOfSync > 0
		}
		if ctx.Err() != nil {
			break
		}
	}
	if asJSON {
		errs = append(errs, a.env.JSON(all))
	}
	if differ {
		errs = append(errs, &cli.QuietError{ExitCode: cli.ExitFailed})
	}
	return errors.Join(errs...)
}

func (a *app) sayCompared(v overview.View) {
	if v.OutOfSync == 0 {
		a.env.Print("%s: both sides are the same\n", v.Resource)
		return
	}
	a.env.Print("%s: %s differ\n", v.Resource, kib(v.OutOfSync))
	a.env.Talk("%s: %s", v.Wrong, v.Next)
}

// verify begins a verification, or joins one that runs, and waits for its end.
func (a *app) verify(ctx context.Context, name string) (overview.View, error) {
	v, err := a.drbdView(ctx, name)
	if err != nil {
		return v, err
	}
	if !verifies(v) {
		if why := v.NotNow(); why != "" {
			return v, cli.Refused("kvmha drbd status "+name, "cannot verify %s: %s", name, why)
		}
		if err := drbdControl().Verify(ctx, name); control.IsReason(err, control.NoAlgorithm) {
			return v, cli.Refused("drbdadm adjust "+name+", on both nodes, when net { verify-alg crc32c; } is in its drbd.conf", "cannot verify %s: drbd.conf has no verify-alg for it", name)
		} else if err != nil {
			return v, drbdSays("verify "+name, err)
		}
	}
	return a.followVerify(ctx, name)
}

func (a *app) drbdView(ctx context.Context, name string) (overview.View, error) {
	views, err := a.drbdViews(ctx, "verify", []string{name})
	if err != nil {
		return overview.View{}, err
	}
	return views[0], nil
}

func verifies(v overview.View) bool { return v.Work != nil && v.Work.Kind == overview.Verification }

// followLongest is how long a verification is waited for.
const followLongest = 7 * 24 * time.Hour

// followVerify shows how far it is until it ends.
func (a *app) followVerify(ctx context.Context, name string) (overview.View, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, followLongest, fmt.Errorf("it has not ended after %v", followLongest))
	defer cancel()
	_, tty := a.env.ErrTerminal()
	said, quiet := time.Now(), patient
	for {
		v, err := a.drbdView(ctx, name)
		if tty {
			fmt.Fprint(a.env.Err, "\r\033[K")
		}
		if err != nil {
			a.env.Talk("the kernel goes on with %s: kvmha drbd status %s", name, name)
			a.env.Talk("to break it off: drbdadm disconnect %s && drbdadm connect %s", name, name)
			if ctx.Err() != nil {
				err = cli.Failed("kvmha drbd verify "+name, "cannot wait for %s: %w", name, context.Cause(ctx))
			}
			return v, err
		}
		switch {
		case !verifies(v):
			return v, a.wholeOf(ctx, v)
		case tty:
			fmt.Fprintf(a.env.Err, "%s: %s", name, workLine(v))
		case time.Since(said) > quiet:
			said, quiet = time.Now(), min(2*quiet, time.Minute)
			a.env.Talk("%s: %s", name, workLine(v))
		}
		_ = pause(ctx, time.Second) // an interruption is seen above
	}
}

// wholeOf fails unless a verification that runs no more compared every block. A connection that was lost for a moment breaks it off, and the states soon
// are as if it had come to its end: the kernel's log tells.
func (a *app) wholeOf(ctx context.Context, v overview.View) error {
	again, name := "kvmha drbd verify "+v.Resource, v.Resource
	if v.Connection != drbd.Connected.String() {
		return cli.Failed("kvmha drbd status "+name, "cannot verify %s: it was broken off: %s", name, v.Wrong)
	}
	switch how, err := drbdCompared(ctx, drbdControl(), name); {
	case err != nil:
		return drbdSays("tell whether all of "+name+" was compared", err)
	case how == drbd.Partial:
		return cli.Failed(again, "cannot verify %s: it was broken off before every block was compared", name)
	case how != drbd.Whole:
		return cli.Failed(again, "cannot verify %s: the kernel's log does not say that every block was compared", name)
	}
	return nil
}
