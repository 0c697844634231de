package agentcmd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/check"
	"kvmctl/ha/explain"
	"kvmctl/internal/nearest"
	"kvmctl/internal/systemd"
)

func newProbe(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "probe [<check>]...",
		Short: "Ask the checks of kvmha.toml once, and say what would follow",
		Long: `Ask every check of kvmha.toml once, or those that are named, from this node, and print what came of it: pass,
fail or unknown (nothing could be learned), how long it took, and the reason. Below each that does not pass
stands what the agent would make of it, were it to stay so: the unit that is restarted, the hand-over, who is
told. Nothing is restarted, moved or mailed by this, and the agent need not run. A check of type sid asks the
agent of the other node, too, over the peer channel; that one has to run.

A check is named GROUP/CHECK, or by its own name, which then means the checks of that name in all groups; a
type, such as dns, and a group stand for all their checks. Several are asked at the same time, each within its own timeout. What serves on the active node only fails
on the other one; that is no fault there.

Exit code 1 if one of them does not pass, 2 if the file has no check of that name.`,
		Example: `  kvmha probe
  kvmha probe dns/named
  kvmha probe sid smb
  kvmha probe --json`,
		Args:              args(cobra.ArbitraryArgs),
		ValidArgsFunction: a.completeChecks,
		RunE:              func(cmd *cobra.Command, names []string) error { return a.runProbe(cmd.Context(), names, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// probed is one check in the form of --json.
type probed struct {
	Group   string   `json:"group"`
	Check   string   `json:"check"`
	Type    string   `json:"type"`
	Verdict string   `json:"verdict"` // pass, fail, unknown
	Certain bool     `json:"certain"` // the failure is a fact, which counts without others in a row
	Reason  string   `json:"reason,omitempty"`
	Took    float64  `json:"took"` // seconds
	Follows []string `json:"follows"`
}

// asked is a check that probe is to ask, with where it belongs.
type asked struct {
	group *ha.Group
	check *ha.Check
	item  check.Item
}

func (a *app) runProbe(ctx context.Context, names []string, asJSON bool) error {
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	list, err := chosen(allChecks(&spec), names)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return cli.Usage("add a [[group.<name>.check]] to "+a.configPath(), "cannot ask: the file has no check")
	}
	items := make([]check.Item, len(list))
	for i, l := range list {
		items[i] = l.item
	}
	end := a.patience(ctx, "waits for "+count(len(items), "check"))
	results := askOnce(ctx, items, a.askSIDs(&spec))
	end()
	all, well := make([]probed, len(list)), true
	for i, r := range results {
		l := list[i]
		word := "fail"
		switch r.Answer.Verdict {
		case check.Pass:
			word = "pass"
		case check.NoIdea:
			word = "unknown"
		}
		well = well && r.Answer.Verdict == check.Pass
		all[i] = probed{Group: l.group.Name, Check: l.check.Name, Type: r.Kind, Verdict: word, Certain: r.Answer.Verdict == check.Certain,
			Reason: r.Answer.Reason, Took: r.Took.Round(100 * time.Microsecond).Seconds(), Follows: explain.Follow(spec, l.group, l.check, r.Answer.Verdict)}
		if all[i].Follows == nil {
			all[i].Follows = []string{}
		}
	}
	if err := a.printProbed(all, asJSON); err != nil {
		return err
	}
	if !well {
		return &cli.QuietError{ExitCode: cli.ExitFailed}
	}
	return nil
}

// askOnce asks with a connection to systemd where it runs here.
func askOnce(ctx context.Context, items []check.Item, sids check.SIDSource) []check.Result {
	env := check.Env{SIDs: sids}
	if systemd.Booted() {
		env.Bus = systemd.NewBus(systemd.PrivateSocket)
		ctx, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = env.Bus.Run(ctx) // it comes back when ctx ends, with nothing to say
		}()
		defer func() { stop(); <-ended }()
	}
	return check.Once(ctx, env, items)
}

func (a *app) printProbed(all []probed, asJSON bool) error {
	if asJSON {
		return a.env.JSON(all)
	}
	rows := make([][]string, len(all))
	for i, p := range all {
		took := time.Duration(p.Took * float64(time.Second))
		rows[i] = []string{p.Group + "/" + p.Check, p.Type, p.Verdict, fmt.Sprintf("%.1fms", float64(took)/float64(time.Millisecond)), p.Reason}
	}
	if err := cli.Table(a.env.Out, []string{"CHECK", "TYPE", "VERDICT", "TOOK", "REASON"}, rows); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	for _, p := range all {
		if len(p.Follows) == 0 {
			continue
		}
		a.env.Print("\n%s: what would follow\n", cli.Printable(p.Group+"/"+p.Check))
		for _, f := range p.Follows {
			a.env.Print("  - %s\n", cli.Printable(f))
		}
	}
	return nil
}

// allChecks are the checks of the file, in its order.
func allChecks(spec *ha.Spec) []asked {
	var all []asked
	for i := range spec.Groups {
		g := &spec.Groups[i]
		for j, it := range g.CheckItems() {
			all = append(all, asked{g, &g.Checks[j], it})
		}
	}
	return all
}

// chosen gives the named ones, in the file's order; all, if none is named.
func chosen(all []asked, names []string) ([]asked, error) {
	if len(names) == 0 {
		return all, nil
	}
	wanted := map[int]bool{}
	for _, name := range names {
		found := false
		for i, c := range all {
			if name == c.item.Name || name == c.check.Name || name == string(c.check.Type) || name == c.group.Name {
				wanted[i], found = true, true
			}
		}
		if !found {
			return nil, noCheck(all, name)
		}
	}
	var list []asked
	for i, c := range all {
		if wanted[i] {
			list = append(list, c)
		}
	}
	return list, nil
}

func noCheck(all []asked, name string) error {
	var known []string
	for _, c := range all {
		known = append(known, c.item.Name, c.check.Name, string(c.check.Type), c.group.Name)
	}
	hint := "kvmha probe, which asks all"
	if near, ok := nearest.Find(name, known); ok {
		hint = "kvmha probe " + quote(near)
	}
	return cli.Usage(hint, "cannot ask %q: the file has no such check", name)
}

// completeChecks completes names of checks, as the file has them.
func (a *app) completeChecks(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if a.place(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	spec, err := a.load(a.configPath())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range allChecks(&spec) {
		if strings.HasPrefix(c.item.Name, toComplete) && !slices.Contains(args, c.item.Name) {
			names = append(names, cobra.CompletionWithDesc(c.item.Name, string(c.check.Type)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
