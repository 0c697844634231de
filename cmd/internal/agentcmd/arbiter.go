package agentcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/arbiter"
)

type createOptions struct {
	group  string
	holder string
	n      uint64
	force  bool
}

func newArbiter(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "arbiter create <group>",
		Short: "Make the record that an arbiter keeps of a group",
		Long: `Make the record that this node, as the arbiter of others ([arbiter.group.<name>] in kvmha.toml), keeps of a group:
who of its two members went on alone last, and as which number. kvmha status shows it. With [arbiter.etcd] the
record is made in that etcd, by any node that has it in its file.

It is made once, when nobody ever went on alone. A record that is lost or damaged is refused, never taken for an
empty one: a node that was not there when the other one went on alone could win. Make it again with --holder and
--n as the members know them, the larger number of the two. --force puts it in place of one that is whole but
older, which never goes back, or an empty one in place of a damaged one. The agent needs no reload.

Where an etcd does not answer, ask again: a record that was made by a request whose answer was lost is there
already, and exit code 3 says so. kvmha status says before anybody asks that no answer could be kept: the disk is
full or read-only, or the etcd has an alarm.`,
		Args: func(cmd *cobra.Command, words []string) error {
			return cli.Usage(cmd.CommandPath()+" create <group>", "cannot run %s with %s", cmd.CommandPath(), count(len(words), "argument"))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	o := &createOptions{}
	create := &cobra.Command{
		Use:   "create <group>",
		Short: "Make a group's record, once or after a loss",
		Long:  cmd.Long,
		Example: `  kvmha arbiter create mail
  kvmha arbiter create mail --holder varda2 --n 7`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.group = words[0]
			return a.createRecord(cmd.Context(), o)
		},
	}
	create.Flags().StringVar(&o.holder, "holder", "", "the `NODE` that went on alone last")
	create.Flags().Uint64Var(&o.n, "n", 0, "as which `NUMBER`")
	create.Flags().BoolVar(&o.force, "force", false, "in place of a whole record that is older, or an empty one in place of a damaged one")
	cmd.AddCommand(create)
	cmd.Example = create.Example
	return cmd
}

func (a *app) createRecord(ctx context.Context, o *createOptions) error {
	if err := a.needRoot("make a record"); err != nil {
		return err
	}
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	keeper, err := arbiter.Keep(ctx, a.recordsPath(), spec.Arbiter, spec.Etcd)
	if err != nil {
		return fmt.Errorf("cannot make a record: %w", err)
	}
	defer keeper.Close()
	r, err := keeper.Create(ctx, o.group, o.holder, o.n, o.force)
	no, refused := errors.AsType[*arbiter.RefusedError](err)
	switch {
	case refused && no.Why == arbiter.WhyThere:
		return cli.Refused(no.Hint(), "cannot make a record: %w", err)
	case refused && no.Why == arbiter.WhyNoGroup:
		return cli.Usage("add a [arbiter.group.<name>] to "+a.configPath(), "cannot make a record: %w", err)
	case refused:
		return cli.Usage(no.Hint(), "cannot make a record: %w", err)
	case err != nil:
		return fmt.Errorf("cannot make a record: %w", err)
	}
	a.env.Talk("%v", r)
	return nil
}

// writeRecords writes the records that this node keeps for others.
func (a *app) writeRecords(w *bytes.Buffer, s *ha.Status) error {
	if len(s.Arbiter) == 0 {
		return nil
	}
	var rows [][]string
	for _, r := range s.Arbiter {
		row := []string{r.Group, strings.Join(r.Members, ","), r.Holder, fmt.Sprint(r.N), "-", "a file here"}
		if len(r.Etcd) > 0 {
			row[5] = "etcd"
		}
		switch {
		case r.Wrong != "" && r.Why == "":
			row[2], row[3] = "not known", "-"
		case r.Wrong != "":
			row[2], row[3] = "no record", "-"
		case r.N == 0:
			row[2] = "nobody yet"
		case r.When != nil:
			row[4] = r.When.Local().Format(time.DateTime)
		}
		rows = append(rows, row)
	}
	if err := cli.Table(w, []string{"ARBITER OF", "MEMBERS", "WENT ON ALONE", "N", "WHEN", "KEPT IN"}, rows); err != nil {
		return err
	}
	for _, r := range s.Arbiter {
		if r.Wrong != "" {
			fmt.Fprintf(w, "%s: nobody may go on alone: %s\n", r.Group, cli.Printable(r.Wrong))
		}
		if r.Fix != "" {
			fmt.Fprintf(w, "%s: to restore: %s\n", r.Group, cli.Printable(r.Fix))
		}
	}
	return nil
}
