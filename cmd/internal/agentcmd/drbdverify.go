package agentcmd

import (
	"context"
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
		Use:   "verify <resource>...",
		Short: "Compare both sides of DRBD resources, block by block",
		Long: `Have the kernel compare what both sides have, block by block, while they are in use. It is refused unless both are connected and up to date, and
drbd.conf has a verify-alg. Nothing is changed: blocks that differ are marked, and reconnecting on the primary has them overwritten by what the primary has.

An interruption does not end it: the kernel goes on, and kvmha drbd status shows how far it is; typed again, this command waits for its end. To break it off,
disconnect the resource and connect it again. With verify = "03:30" in a group of kvmha.toml the active node's agent does this every night, and mails the result.

Exit code 1 if something differs, or it could not be compared. --json prints a list with the keys resource and differs_kib.`,
		Example: `  kvmha drbd verify r0
  kvmha drbd verify r0 r1 --json`,
		Args: args(cobra.MinimumNArgs(1)),
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
	all := []compared{}
	differ := false
	for _, name := range names {
		kib, err := a.verify(ctx, name)
		if err != nil {
			return err
		}
		all = append(all, compared{name, kib})
		differ = differ || kib > 0
		if !asJSON {
			a.sayCompared(name, kib)
		}
	}
	if asJSON {
		if err := a.env.JSON(all); err != nil {
			return err
		}
	}
	if differ {
		return &cli.QuietError{ExitCode: cli.ExitFailed}
	}
	return nil
}

func (a *app) sayCompared(name string, differs uint64) {
	if differs == 0 {
		a.env.Print("%s: both sides are the same\n", name)
		return
	}
	a.env.Print("%s: %s differ\n", name, kib(differs))
	a.env.Talk("to overwrite the peer's with what the primary has, on the primary: drbdadm disconnect %s && drbdadm connect %s", name, name)
}

// verify begins a verification, or joins one that runs, and waits for its end.
func (a *app) verify(ctx context.Context, name string) (uint64, error) {
	views, err := a.drbdViews(ctx, "verify", []string{name})
	if err != nil {
		return 0, err
	}
	if v := views[0]; !verifies(v) {
		if v.Wrong != "" && v.OutOfSync == 0 || !v.Up {
			return 0, cli.Refused("kvmha drbd status "+name, "cannot verify %s: %s", name, v.Wrong)
		}
		if err := drbdControl().Verify(ctx, name); control.IsReason(err, control.NoAlgorithm) {
			return 0, cli.Refused("drbdadm adjust "+name+", on both nodes, when net { verify-alg crc32c; } is in its drbd.conf", "cannot verify %s: drbd.conf has no verify-alg for it", name)
		} else if err != nil {
			return 0, drbdSays("verify "+name, err)
		}
	}
	return a.followVerify(ctx, name)
}

func verifies(v overview.View) bool { return v.Work != nil && v.Work.Kind == overview.Verification }

// followVerify shows how far it is until it ends.
func (a *app) followVerify(ctx context.Context, name string) (uint64, error) {
	_, tty := a.env.ErrTerminal()
	said := time.Now()
	for {
		views, err := a.drbdViews(ctx, "verify", []string{name})
		if ctx.Err() != nil {
			a.env.Talk("%s is verified on, by the kernel: kvmha drbd status %s", name, name)
			return 0, cli.Failed("kvmha drbd verify "+name, "cannot wait for %s: interrupted", name)
		}
		if err != nil {
			return 0, err
		}
		v := views[0]
		switch {
		case verifies(v) && tty:
			fmt.Fprintf(a.env.Err, "\r%s: %s\033[K", name, workLine(v))
		case verifies(v) && time.Since(said) > patient:
			said = time.Now()
			a.env.Talk("%s: %s", name, workLine(v))
		case verifies(v):
		default:
			if tty {
				fmt.Fprint(a.env.Err, "\r\033[K")
			}
			return v.OutOfSync, a.wholeOf(ctx, v)
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
