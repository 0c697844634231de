package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/control"
	"kvmctl/ha/drbd/overview"
	"kvmctl/internal/nearest"
)

func newDRBDStatus(a *app) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status [<resource>...]",
		Short: "Show how each DRBD resource stands, what is wrong about it, and what to type",
		Long: `Show each resource of drbd.conf, and each that is up: its role, its data and its connection, here and at the peer; below the table how far a resync or a
verification is, what is wrong, and what to type. DRBD itself is asked, so no agent has to run.

Exit code 1 unless every resource is up, connected, and up to date on both sides.

--json prints a list; the keys stay the same within a major version: resource, up, role, peer_role, disk, peer_disk, connection, out_of_sync_kib, work (kind,
percent, left_seconds, paused), cause, wrong, next. What is empty may be left out.`,
		Example: `  kvmha drbd status
  kvmha drbd status r0 --json`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runDRBDStatus(cmd.Context(), names, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) runDRBDStatus(ctx context.Context, names []string, asJSON bool) error {
	views, err := a.drbdViews(ctx, "show", names)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.env.JSON(views)
	} else {
		err = a.printViews(views)
	}
	if err == nil && slices.ContainsFunc(views, func(v overview.View) bool { return v.Wrong != "" }) {
		err = &cli.QuietError{ExitCode: cli.ExitFailed}
	}
	return err
}

// drbdViews gives the resources of these names; of none: all.
func (a *app) drbdViews(ctx context.Context, act string, names []string) ([]overview.View, error) {
	configured, err := a.drbdConfigured()
	if err != nil {
		return nil, err
	}
	f, err := drbdFacts(ctx, drbdControl(), configured)
	if err != nil {
		return nil, drbdSays(act+" the resources", err)
	}
	all := overview.Views(f)
	if len(names) == 0 {
		if all == nil {
			all = []overview.View{}
		}
		return all, nil
	}
	known := make([]string, 0, len(all))
	for _, v := range all {
		known = append(known, v.Resource)
	}
	var chosen []overview.View
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			hint := "kvmha drbd status"
			if near, ok := nearest.Find(name, known); ok {
				hint += " " + near
			}
			return nil, cli.Usage(hint, "cannot %s %s: drbd.conf has no resource of that name for %s", act, name, a.drbdHost())
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// drbdConfigured lists the resources that drbd.conf has for this host. Without the file there are none.
func (a *app) drbdConfigured() (names []string, err error) {
	c, err := conf.Load(conf.Dir(a.root), a.root, conf.Main)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, drbdError(err)
	}
	host := a.drbdHost()
	for _, r := range c.Resources {
		if slices.ContainsFunc(r.Hosts, func(h *conf.Host) bool { return h.Called(host) }) {
			names = append(names, r.Name.Text)
		}
	}
	return names, nil
}

// drbdSays puts what DRBD's programs answered in words, with what to type.
func drbdSays(act string, err error) error {
	hint := "kvmha drbd status"
	switch {
	case control.IsReason(err, control.NoPrograms):
		hint = "apt install drbd-utils"
	case control.IsReason(err, control.NoModule):
		hint = "modprobe drbd"
	case control.IsReason(err, control.Hangs):
		hint = "dmesg | tail"
	case control.IsReason(err, control.BadConfig), control.IsReason(err, control.Undefined):
		hint = "kvmha drbd lint"
	case control.IsReason(err, control.NoRoom):
		hint = "resize2fs <disk> <size>, with some room below what may be left\nkvmha drbd lint, once drbd.conf has a meta-disk elsewhere"
	case errors.Is(err, fs.ErrPermission):
		hint = "sudo kvmha …"
	}
	return cli.Failed(hint, "cannot %s: %w", act, err)
}

func (a *app) printViews(views []overview.View) error {
	if len(views) == 0 {
		a.env.Talk("there is no resource: drbd.conf has none for %s, and none is up: kvmha drbd template --help", a.drbdHost())
		return nil
	}
	var rows [][]string
	for _, v := range views {
		rows = append(rows, []string{v.Resource, v.Role, v.Disk, v.Connection, v.PeerRole, v.PeerDisk})
	}
	var b strings.Builder
	if err := cli.Table(&b, []string{"RESOURCE", "ROLE", "DISK", "CONNECTION", "PEER", "PEER'S DISK"}, rows); err != nil {
		return fmt.Errorf("cannot show the resources: %w", err)
	}
	for _, v := range views {
		if v.Wrong != "" {
			fmt.Fprintf(&b, "%s: %s\n", v.Resource, cli.Printable(v.Wrong))
		}
		if v.Work != nil {
			fmt.Fprintf(&b, "%s: %s\n", v.Resource, workLine(v))
		}
		if v.Work == nil && v.OutOfSync > 0 && v.NotNow() != "" { // else it is said already
			fmt.Fprintf(&b, "%s: %s differ from the peer's, or may\n", v.Resource, kib(v.OutOfSync))
		}
		if v.Next != "" {
			fmt.Fprintf(&b, "%s: to mend it: %s\n", v.Resource, a.env.Again(v.Next))
		}
	}
	a.env.Print("%s", b.String())
	return nil
}

// workLine draws how far a resync or a verification is.
func workLine(v overview.View) string {
	const width = 30
	w := v.Work
	full := min(width, max(0, int(w.Percent*width/100)))
	text := fmt.Sprintf("%s [%s%s] %.1f %%", w.Kind, strings.Repeat("=", full), strings.Repeat(" ", width-full), w.Percent)
	if v.OutOfSync > 0 {
		text += ", " + kib(v.OutOfSync) + " differ"
	}
	if w.Left > 0 {
		text += ", " + w.Left.Round(time.Second).String() + " left"
	}
	return text
}
