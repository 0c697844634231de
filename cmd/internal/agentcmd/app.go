package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/nearest"
	"kvmctl/internal/version"
)

// app is what every command works with.
type app struct {
	env    *cli.Env
	root   string // --root, absolute; "" is the machine's own
	config string // --config; "" is the one below root
}

// Main runs kvmha and gives its exit code.
func Main(ctx context.Context, env *cli.Env) int {
	cmd := New(env)
	cmd.SetArgs(env.Args)
	return env.Report(cmd.ExecuteContext(ctx))
}

// The groups of the help.
const (
	groupAgent = "agent"
	groupFile  = "file"
	groupDRBD  = "drbd"
)

// New builds the command tree.
func New(env *cli.Env) *cobra.Command {
	a := &app{env: env}
	root := &cobra.Command{
		Use:           "kvmha",
		Short:         "Share an address with another node, and run what belongs to it on one of them",
		Long:          about(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version.Version,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.place(cmd) },
	}
	root.PersistentFlags().StringVar(&a.root, "root", "", "keep everything below `DIR` instead of /")
	root.PersistentFlags().StringVar(&a.config, "config", "", "read `FILE` instead of /etc/kvmha.toml")
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetVersionTemplate("kvmha {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cli.Usage(cmd.CommandPath()+" --help", "cannot run %s: %w", cmd.CommandPath(), err)
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelp(a))
	root.AddGroup(&cobra.Group{ID: groupAgent, Title: "The agent:"}, &cobra.Group{ID: groupDRBD, Title: "Storage, most of it called by DRBD:"},
		&cobra.Group{ID: groupFile, Title: "Its file, this program:"})
	a.addCommands(root)
	env.IsCommand = func(word string) bool {
		return word == "…" || slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
	}
	return root
}

func (a *app) addCommands(root *cobra.Command) {
	groups := []struct {
		id       string
		commands []*cobra.Command
	}{
		{groupAgent, []*cobra.Command{newRun(a), newStatus(a), newLog(a), newSwitch(a), newMaintenance(a), newReload(a), newRestart(a), newPair(a), newSync(a), newSyncShell(a), newArbiter(a), newNotify(a), newTick(a)}},
		{groupDRBD, []*cobra.Command{newDRBD(a), newConfirmDead(a), newFencePeer(a), newBeforeResync(a), newUnfence(a), newSplitBrain(a)}},
		{groupFile, []*cobra.Command{newCheck(a), newProbe(a), newImportUCARP(a), newCompletion(a), newVersion(a)}},
	}
	for _, g := range groups {
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
}

// place settles where the agent's things are, before any command runs.
func (a *app) place(cmd *cobra.Command) (err error) {
	if cmd.ValidateFlagGroups() != nil {
		return cli.Usage(useLine(cmd), "cannot run %s: some of its flags exclude each other", cmd.CommandPath())
	}
	for _, flag := range []string{"root", "config"} {
		if f := cmd.Flag(flag); f.Changed && f.Value.String() == "" {
			return cli.Usage(cmd.CommandPath()+" --help", "cannot use --%s: it is empty", flag)
		}
	}
	if a.root == "/" {
		a.root = ""
	}
	var where []string
	if a.root != "" {
		if _, err := os.Stat(a.root); err != nil {
			return cli.Usage("mkdir "+a.root, "cannot use --root: %w", err)
		}
		if a.root, err = filepath.Abs(a.root); err != nil {
			return fmt.Errorf("cannot use --root: %w", err)
		}
		where = append(where, "--root", quote(a.root))
	}
	if a.config != "" {
		if a.config, err = filepath.Abs(a.config); err != nil {
			return fmt.Errorf("cannot use --config: %w", err)
		}
		where = append(where, "--config", quote(a.config))
	}
	a.env.Where = strings.Join(where, " ")
	return nil
}

// quote gives a word as a shell reads it.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:=@%") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	hint := cmd.CommandPath() + " --help"
	if near, ok := nearest.Find(name, names); ok {
		hint = fmt.Sprintf("did you mean `%s %s`?", cmd.CommandPath(), near)
	}
	return cli.Usage(hint, "cannot run %q: no such command of %s", name, cmd.CommandPath())
}

// needRoot refuses early and clearly what only root can do.
func (a *app) needRoot(act string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return cli.Failed("sudo kvmha …", "cannot %s: only root may", act)
}

// permission puts the usual cause of a refused file in words.
func permission(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return cli.Failed("sudo kvmha …", "%w", err)
	}
	return err
}

// useLine is how a command is called; cobra adds a word that says nothing.
func useLine(cmd *cobra.Command) string { return strings.TrimSuffix(cmd.UseLine(), " [flags]") }

// args puts cobra's argument checks in our words.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if err := check(cmd, got); err != nil {
			return cli.Usage(useLine(cmd), "cannot run %s with %s", cmd.CommandPath(), count(len(got), "argument"))
		}
		return nil
	}
}

// count says how many there are of what.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
