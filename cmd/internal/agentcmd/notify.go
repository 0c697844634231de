package agentcmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/notify"
)

func newNotify(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "notify <command>",
		Short:   "Try how alerts reach people",
		Long:    "Try how alerts reach people: by mail, by webhook, by a program of yours.",
		Example: `  kvmha notify test`,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) > 0 {
				return unknownCommand(cmd, words[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newNotifyTest(a))
	return cmd
}

func newNotifyTest(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test [--json]",
		Short: "Send a test by mail, webhook and program, and say what became of it",
		Long: `Send a test message by every voice that kvmha.toml configures: [mail], [webhook], [command]. It goes at once
and past the spool, so that what is printed is the answer of the relay itself. The agent need not run.

Exit code 1 if one of them did not take it, 2 if none is configured.`,
		Example: `  kvmha notify test
  kvmha notify test --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runNotifyTest(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// triedVoice is one voice in the form of --json.
type triedVoice struct {
	Voice string `json:"voice"`
	To    string `json:"to"`
	Taken bool   `json:"taken"`
	Error string `json:"error,omitempty"`
}

func (a *app) runNotifyTest(ctx context.Context, asJSON bool) error {
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	tried, err := notify.Test(ctx, spec)
	if errors.Is(err, notify.ErrNoVoice) {
		return cli.Usage("add a table [mail] to "+a.configPath(), "cannot send a test: %w", err)
	}
	if err != nil {
		return fmt.Errorf("cannot send a test: %w", err)
	}
	var errs []error
	all := []triedVoice{}
	for _, t := range tried {
		v := triedVoice{Voice: t.Voice, To: t.To, Taken: t.Err == nil}
		if t.Err != nil {
			v.Error = t.Err.Error()
			errs = append(errs, fmt.Errorf("cannot send a test: %w", t.Err))
		} else if !asJSON {
			fmt.Fprintf(a.env.Out, "%s: taken by %s\n", t.Voice, t.To)
		}
		all = append(all, v)
	}
	if asJSON {
		errs = append(errs, a.env.JSON(all))
	}
	return errors.Join(errs...)
}
