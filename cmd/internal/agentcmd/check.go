package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs/kvmha"
	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/confsync"
	"kvmctl/ha/explain"
	"kvmctl/ha/link"
	"kvmctl/ha/peer"
	"kvmctl/ha/unit"
)

// lookTime is how long check may ask the system for facts.
const lookTime = 5 * time.Second

type checkOptions struct {
	file string
	json bool
}

func newCheck(a *app) *cobra.Command {
	o := &checkOptions{}
	cmd := &cobra.Command{
		Use:   "check [<file>]",
		Short: "Find every mistake in kvmha.toml, and say what the file promises",
		Long: `Read kvmha.toml, or another file, and print every mistake with file:line:column and what to type instead.
Exit code 2 if there is one.

A file without mistakes is put in plain words: per group what happens when, how soon it is noticed, what
the file cannot rule out (a full partition, a captured advert), and what is left to do on the nodes. Of a group with
storage it says who goes on and who waits when a node or its host, the arbiter, a fence, a cable or all of them are
lost. What the agent would refuse to run with, a fence or an arbiter that dies with whom it is to judge, an
interface that is missing, a unit that the boot starts, too, and what a [[sync]] would copy although it belongs
to one node (leases, journals, keys) are warnings and do not change the exit code. Where the agent runs, the SIDs of Samba are
compared with those of the other node for each check of type sid.`,
		Example: `  kvmha check
  kvmha check kvmha.toml.new
  kvmha check --json`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if o.file = a.configPath(); len(words) > 0 {
				o.file = words[0]
			}
			return a.runCheck(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print the sentences as JSON")
	return cmd
}

func (a *app) runCheck(ctx context.Context, o *checkOptions) error {
	spec, err := a.load(o.file)
	if err != nil {
		return err
	}
	sentences := explain.Explain(spec, a.facts(ctx, spec, o.file))
	if o.json {
		if sentences == nil {
			sentences = []explain.Sentence{}
		}
		return a.env.JSON(sentences)
	}
	a.printSentences(sentences)
	return nil
}

// load reads a kvmha.toml; its mistakes come back one error each.
func (a *app) load(file string) (ha.Spec, error) {
	spec, err := kvmha.Load(file)
	var problems strict.Problems
	if !errors.As(err, &problems) {
		return spec, err
	}
	switch f, err := os.Open(file); {
	case errors.Is(err, fs.ErrNotExist):
		return spec, cli.Usage("kvmha import-ucarp, or begin with the reference file kvmha.reference.toml", "cannot read %s: there is no such file", file)
	case errors.Is(err, fs.ErrPermission): // nothing is known of the file, so it is no mistake in it
		return spec, fmt.Errorf("cannot read the configuration: %w", permission(err))
	case err == nil:
		f.Close()
	}
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = cli.Usage(p.Hint(), "%w", p)
	}
	return spec, errors.Join(errs...)
}

// headings stand above the sentences of a kind.
var headings = map[explain.Kind]string{
	explain.Warning: "found here", explain.Promise: "promised", explain.Limit: "not ruled out", explain.Task: "left to do",
}

func (a *app) printSentences(sentences []explain.Sentence) {
	group, kind := "", explain.Kind(-1)
	for i, s := range sentences {
		if i == 0 || s.Group != group {
			title := "this node"
			if s.Group != "" {
				title = "group " + s.Group
			}
			if i > 0 {
				title = "\n" + title
			}
			a.env.Print("%s\n", title)
			group, kind = s.Group, -1
		}
		if s.Kind != kind {
			kind = s.Kind
			a.env.Print("  %s:\n", headings[kind])
		}
		a.env.Print("  - %s\n", cli.Printable(s.Text))
		if s.Fix != "" {
			a.env.Print("      type: %s\n", cli.Printable(s.Fix))
		}
	}
}

// facts looks at what the sentences depend on. What cannot be asked is left unknown.
func (a *app) facts(ctx context.Context, spec ha.Spec, file string) explain.Facts {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	f := explain.Facts{Interfaces: map[string]bool{}, AtBoot: map[string][]string{}, Missing: map[string]bool{}, Paired: map[string]bool{}}
	for _, p := range spec.Peers {
		_, err := peer.LoadPin(a.keysPath(), p.Name)
		f.Paired[p.Name] = err == nil
	}
	if ticking, err := link.Ticking(ctx); err == nil {
		f.Tick = ticking
	}
	for _, g := range spec.Groups {
		_, err := net.InterfaceByName(g.Interface)
		f.Interfaces[g.Interface] = err == nil
		for _, u := range g.Units {
			if by, err := a.startedAtBoot(ctx, u); err == nil {
				f.AtBoot[u.Name] = by
			}
			if u.Kind == ha.UnitSysV {
				_, err := os.Stat(filepath.Join(a.root, "/etc/init.d", u.Name))
				f.Missing[u.Name] = errors.Is(err, fs.ErrNotExist)
			}
		}
	}
	f.Private = map[string][]confsync.Private{}
	for _, j := range spec.Syncs {
		f.Private[j.Name] = confsync.LookPrivate(ctx, j)
	}
	f.SIDs = a.compareSIDs(ctx, &spec)
	f.Own = ownAddresses()
	if unsafe, ok := errors.AsType[*ha.UnsafeError](a.safeDRBD(ctx, spec, file)); ok {
		f.Unsafe = unsafe.Why
	}
	return f
}

// ownAddresses gives this node's addresses; none where the system does not say.
func ownAddresses() (all []netip.Addr) {
	there, _ := net.InterfaceAddrs()
	for _, one := range there {
		if p, err := netip.ParsePrefix(one.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}

var errNobodyKnows = errors.New("nobody knows")

func (a *app) startedAtBoot(ctx context.Context, u ha.Unit) ([]string, error) {
	var boot unit.Boot
	var err error
	switch u.Kind {
	case ha.UnitSystemd:
		boot, err = unit.Systemd{Unit: u.Name}.EnabledAtBoot(ctx)
	case ha.UnitSysV:
		boot, err = unit.SysV{Script: u.Name, Root: a.root}.EnabledAtBoot(ctx)
	default:
		err = errNobodyKnows
	}
	if err != nil {
		return nil, fmt.Errorf("ask whether %s is started at boot: %w", u.Name, err)
	}
	if boot.Enabled && len(boot.By) == 0 {
		boot.By = []string{"the system"}
	}
	return boot.By, nil
}
