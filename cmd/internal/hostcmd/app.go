package hostcmd

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
	"kvmctl/configs"
	"kvmctl/internal/nearest"
	"kvmctl/internal/version"
	"kvmctl/vm"
)

// app is what every command works with.
type app struct {
	env     *cli.Env
	root    string // --root, absolute; "" is the machine's own
	verbose bool
	noScope bool // start --no-scope
}

// Main runs kvmctl and gives its exit code.
func Main(ctx context.Context, env *cli.Env) int {
	cmd := New(env)
	cmd.SetArgs(env.Args)
	return env.Report(cmd.ExecuteContext(ctx))
}

// The groups of the help.
const (
	groupGuests  = "guests"
	groupScreens = "screens"
	groupThings  = "things"
)

// New builds the command tree, as far as env.Args need it.
func New(env *cli.Env) *cobra.Command {
	a := &app{env: env}
	root := &cobra.Command{
		Use:           "kvmctl",
		Short:         "Create, start, see and stop KVM guests, with no daemon",
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
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			defer func() {
				if err == nil && os.Geteuid() == 0 && cmd.Name() != cobra.ShellCompRequestCmd && cmd.Name() != "fence" {
					a.settleMounts(cmd.Context())
				}
			}()
			if cmd.ValidateFlagGroups() != nil {
				return cli.Usage(useLine(cmd), "cannot run %s: some of its flags exclude each other", cmd.CommandPath())
			}
			if a.root == "" && cmd.Flags().Changed("root") {
				return cli.Usage("--root / is the machine itself", "cannot use --root: it is empty")
			}
			if _, err := os.Stat(a.root); a.root != "" && err != nil {
				return cli.Usage("mkdir "+a.root, "cannot use --root: %w", err)
			}
			if a.root == "/" {
				a.root = ""
			}
			if a.root != "" {
				if a.root, err = filepath.Abs(a.root); err != nil {
					return fmt.Errorf("cannot use --root: %w", err)
				}
				a.env.Where = vm.CommandLine([]string{"--root", a.root})
			}
			a.recoverFirst(cmd)
			return nil
		},
	}
	root.PersistentFlags().StringVar(&a.root, "root", "", "keep everything below `DIR` instead of /")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "say what is being done")
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetVersionTemplate("kvmctl {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cli.Usage(cmd.CommandPath()+" --help", "cannot run %s: %w", cmd.CommandPath(), err)
	})
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelp(a))
	root.AddGroup(&cobra.Group{ID: groupGuests, Title: "Guests:"}, &cobra.Group{ID: groupScreens, Title: "Screens, consoles, monitors:"},
		&cobra.Group{ID: groupThings, Title: "Images, networks, this program:"})
	a.addCommands(root, env.Args)
	env.IsCommand = func(word string) bool { return word == "…" || word == "help" || isCommand(word) }
	return root
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

// layout gives the names on disk.
func (a *app) layout() vm.Layout { return vm.Layout{Root: a.root} }

// site loads the configuration.
func (a *app) site(ctx context.Context) (*configs.Site, error) {
	s, err := configs.Load(ctx, a.root)
	if err != nil {
		return nil, cannotLoad(err)
	}
	return s, nil
}

func cannotLoad(err error) error {
	return cli.WithCode(fmt.Errorf("cannot load the configuration: %w", err), cli.ExitUsage)
}

// host gives the machine that guests run on, as kvm.toml describes it.
func (a *app) host(s *configs.Site, op string) *vm.Host {
	h := &vm.Host{
		Layout: a.layout(), UIDBase: s.Host.UIDBase, QEMU: s.Host.QEMU, KVMDevice: "/dev/kvm", VHostDevice: "/dev/vhost-net",
		RecorderSize: s.Host.RecorderSize, ConsoleSize: s.Host.ConsoleSize, HistorySize: s.Host.HistorySize,
		Hooks: s.Host.Hooks,
		By:    whoami(a.env) + ", kvmctl " + op, Starter: unattended(a.env),
	}
	h.Network, h.SetRate = a.network(s), setRate
	h.Place = a.place()
	h.Step = a.env.Step
	return h
}

// step tells who listens that a part of a command is done.
func (a *app) step(name string) {
	if a.env.Step != nil {
		a.env.Step(name)
	}
}

// needRoot refuses early and clearly what only root can do.
func (a *app) needRoot(act string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return cli.Failed("sudo kvmctl …", "cannot %s: only root may", act)
}

// guest gives one guest whose configuration is sound; act is for the error: "start".
func (a *app) guest(s *configs.Site, name, act string) (*configs.Guest, error) {
	g, err := s.Guest(name)
	if err != nil {
		return nil, usable(act, name, err)
	}
	if problems := s.ProblemsOf(name); len(problems) > 0 {
		return nil, badConfig(act, name, problems)
	}
	return &g, nil
}

// useLine is how a command is called; cobra adds a word that says nothing.
func useLine(cmd *cobra.Command) string { return strings.TrimSuffix(cmd.UseLine(), " [flags]") }

// usable wraps an unknown or impossible name.
func usable(act, name string, err error) error {
	var bad *configs.NameError
	if errors.As(err, &bad) {
		return cli.Usage(cli.Hint(err), "cannot %s %q: %w", act, name, err)
	}
	return cli.Failed(cli.Hint(err), "cannot %s %s: %w", act, name, err)
}

// badConfig gives each mistake a line of its own.
func badConfig(act, name string, problems configs.Problems) error {
	var all []error
	for _, p := range problems {
		all = append(all, cli.Usage(p.Hint(), "cannot %s %s: %w", act, name, p))
	}
	return errors.Join(all...)
}

// named gives the sound guests among names, and an error for each other one: one bad name does not stop the rest.
func (a *app) named(s *configs.Site, names []string, act string) ([]*configs.Guest, error) {
	var guests []*configs.Guest
	var errs []error
	for _, n := range dedupe(names) {
		g, err := a.guest(s, n, act)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		guests = append(guests, g)
	}
	return guests, errors.Join(errs...)
}

func dedupe(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// completeGuests completes names of guests.
func (a *app) completeGuests(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	s, err := configs.Load(cmd.Context(), a.root)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, g := range s.Guests {
		if strings.HasPrefix(g.Spec.Name, toComplete) && !slices.Contains(args, g.Spec.Name) {
			names = append(names, cobra.CompletionWithDesc(g.Spec.Name, g.Spec.Description))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeGuest completes one name of a guest and nothing after it.
func (a *app) completeGuest(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeGuests(cmd, args, toComplete)
}

// args puts cobra's argument checks in our words.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if err := check(cmd, got); err != nil {
			return cli.Usage(useLine(cmd), "cannot run %s with %s", cmd.CommandPath(), count(len(got), "argument"))
		}
		return nil
	}
}

// permission puts the usual cause of a refused file in words.
func permission(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return cli.Failed("sudo kvmctl …", "%w", err)
	}
	return err
}
