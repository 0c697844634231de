package agentcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/confsync"
)

func newSyncVersions(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "versions <name>",
		Short: "Show the versions that a rollback can go back to",
		Long: `Show the versions that are kept of a [[sync]], the newest first: until when each was in place on this node, and how
many files it has. As many are kept as its keep says.`,
		Example: "  kvmha sync versions zones",
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(_ *cobra.Command, names []string) error { return a.runSyncVersions(names[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) runSyncVersions(name string, asJSON bool) error {
	if err := a.needRoot("list the versions"); err != nil {
		return err
	}
	jobs, err := a.jobs([]string{name})
	if err != nil {
		return err
	}
	all, err := confsync.Versions(jobs[0])
	if err != nil {
		return fmt.Errorf("cannot list the versions of %s: %w", name, err)
	}
	if asJSON {
		return a.env.JSON(append([]confsync.Version{}, all...))
	}
	var rows [][]string
	for _, v := range all {
		rows = append(rows, []string{strconv.Itoa(v.Number), v.Until.Format(time.DateTime), strconv.Itoa(v.Files)})
	}
	var b bytes.Buffer
	if err := cli.Table(&b, []string{"VERSION", "UNTIL", "FILES"}, rows); err != nil {
		return fmt.Errorf("cannot list the versions of %s: %w", name, err)
	}
	a.env.Print("%s", b.String())
	return nil
}

func newSyncRollback(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback <name> [<version>]",
		Short: "Put the version before in place again",
		Long: `Put the version that the last copy replaced in place again, or another one of "kvmha sync versions", and have it read.
What was in place is kept in its stead: a second rollback undoes the first. What a sync excludes stays as it is.

The agent does not bring back what was put away: it copies again when the files change on the source, or when "kvmha
sync <name>" is typed. Until then kvmha status says so.`,
		Example: `  kvmha sync rollback zones
  kvmha sync rollback zones 7`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, words []string) error {
			version := 0
			if len(words) > 1 {
				n, err := strconv.Atoi(words[1])
				if err != nil || n < 1 {
					return cli.Usage("kvmha sync versions "+words[0], "cannot roll %s back: %q is no version", words[0], words[1])
				}
				version = n
			}
			return a.runSyncRollback(cmd.Context(), words[0], version)
		},
	}
}

func (a *app) runSyncRollback(ctx context.Context, name string, version int) error {
	if err := a.needRoot("roll back"); err != nil {
		return err
	}
	jobs, err := a.jobs([]string{name})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	if err := (&confsync.Engine{State: a.syncPath(), Unit: reloadUnit()}).RollbackTo(ctx, jobs[0], version); err != nil {
		var hint interface{ Hint() string }
		text := ""
		if errors.As(err, &hint) {
			text = hint.Hint()
		}
		return cli.Failed(text, "cannot roll %s back: %w", name, err)
	}
	a.env.Print("%s: the version before is in place, and stays until the files change on the source\n", name)
	return nil
}

// writeHeld writes which syncs a rollback holds.
func (a *app) writeHeld(w *bytes.Buffer, s *ha.Status) {
	for _, j := range s.Syncs {
		if j.Held != nil {
			fmt.Fprintf(w, "sync %s: rolled back %s ago; what the source has stays away until it changes there; to copy it: %s\n",
				cli.Printable(j.Name), age(*j.Held), a.env.Again("kvmha sync "+j.Name))
		}
	}
}
