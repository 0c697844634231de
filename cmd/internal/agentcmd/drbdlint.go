package agentcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
)

type drbdLintOptions struct {
	file   string
	peers  []string
	alone  bool     // nobody is asked
	spec   *ha.Spec // nil: as the file has it
	config string   // where spec is from
	json   bool
}

func newDRBDLint(a *app) *cobra.Command {
	o := &drbdLintOptions{}
	cmd := &cobra.Command{
		Use:   "lint [<file>]",
		Short: "Find what is dangerous or wrong about DRBD here, and say what is better",
		Long: `Read drbd.conf with what it includes, kvmha.toml's groups, fstab, the mount units, what begins at boot, which programs
the handlers call and who has the watchdog, and print each thing to mend with its file:line:column, the reason and what to write instead:

  danger   data can be lost: data discarded without asking, promotion by anybody but the agent, a mount at boot
  warning  it will not do what was meant, or not when it is needed
  note     worth knowing

Where kvmha.toml has a peer that this node is paired with, its agent is asked for its drbd.conf, and the two are
compared by what they mean; when it cannot be asked, that is said. --peer-file, once for each file of the other node
that drbdadm reads there, asks nobody. Secrets are compared and never printed; over the network goes a digest of each,
and no comment. A host that one resource alone names, in another spelling, is found in one file, too.

Exit code 1 if there is a danger or a warning, or drbd.conf may not be read; 2 if it is missing, or has what cannot be
read on.`,
		Example: `  kvmha drbd lint
  kvmha drbd lint --peer-file vm-varda.drbd.conf
  kvmha drbd lint /etc/drbd.conf.new --no-peer --json`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) > 0 {
				o.file = words[0]
			}
			return a.runDRBDLint(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVar(&o.peers, "peer-file", nil, "compare with `FILE` of the peer, and ask nobody; may be repeated")
	cmd.Flags().BoolVar(&o.alone, "no-peer", false, "compare with nobody")
	cmd.MarkFlagsMutuallyExclusive("peer-file", "no-peer")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (a *app) runDRBDLint(ctx context.Context, o *drbdLintOptions) error {
	in, err := a.drbdInput(ctx, o)
	if err != nil {
		return err
	}
	findings := lint.Lint(in)
	if o.json {
		if findings == nil {
			findings = []lint.Finding{}
		}
		err = a.env.JSON(findings)
	} else {
		a.printFindings(findings)
	}
	for _, f := range findings {
		if err == nil && f.Severity != lint.Note {
			err = &cli.QuietError{ExitCode: cli.ExitFailed}
		}
	}
	return err
}

// drbdInput gathers what lint judges. Of what is beside drbd.conf, what cannot be read is told and left out.
func (a *app) drbdInput(ctx context.Context, o *drbdLintOptions) (in lint.Input, err error) {
	if o.file == "" {
		in.Here, err = conf.Load(conf.Dir(a.root), a.root, conf.Main)
	} else {
		in.Here, err = loadDRBD("", o.file)
	}
	if err != nil {
		return in, drbdError(err)
	}
	if in.Peer, err = peerFiles(o.peers); err != nil {
		return in, drbdError(err)
	}
	in.Host = a.drbdHost()
	if in.Facts, err = lint.Gather(a.root, a.root); err != nil {
		a.env.Talk("%v", err)
	}
	if a.root == "" {
		in.Self, _ = os.Executable()
	}
	in.Programs = lint.GatherPrograms(a.root, in.Self, lint.Commands(in.Here))
	if spec, ok := a.groupsOf(o); ok {
		in.Groups = lintGroups(spec, cmp.Or(o.config, a.configPath()))
		if len(spec.Peers) == 1 && drbdNames(in.Here, spec.Peers[0].Name) {
			in.PeerHost = spec.Peers[0].Name
		}
		if in.Peer == nil && !o.alone {
			if there, host := a.askDRBD(ctx, &spec); there != nil {
				in.Peer, in.PeerHost = there, host
			}
		}
	}
	return in, nil
}

// groupsOf gives the file whose groups are looked at: DRBD can be looked at before there is an agent.
func (a *app) groupsOf(o *drbdLintOptions) (ha.Spec, bool) {
	if o.spec != nil {
		return *o.spec, true
	}
	if _, err := os.Stat(a.configPath()); err != nil {
		return ha.Spec{}, false
	}
	spec, err := a.load(a.configPath())
	if err != nil {
		a.env.Talk("the groups are not looked at: see kvmha check")
	}
	return spec, true
}

// loadDRBD reads files by the names that a shell gives.
func loadDRBD(label string, files ...string) (*conf.Config, error) {
	list := make([]string, len(files))
	for i, file := range files {
		full, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		list[i] = full
	}
	return conf.Load(conf.Dir(""), label, list...)
}

func drbdError(err error) error {
	at, _ := errors.AsType[*conf.Error](err)
	switch {
	case errors.Is(err, fs.ErrNotExist) && at != nil && at.At.Line > 0: // an include: the place says where to mend it
	case errors.Is(err, fs.ErrNotExist):
		return cli.Usage("kvmha drbd template --help", "cannot read drbd.conf: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed("sudo kvmha …", "cannot read drbd.conf: %w", err)
	}
	return fmt.Errorf("cannot read drbd.conf: %w", err)
}

// drbdHost is what drbdadm compares with the on sections: uname -n, or below --root what would be it.
func (a *app) drbdHost() string {
	if a.root != "" {
		text, _ := readBounded(filepath.Join(a.root, "etc/hostname"))
		return strings.TrimSpace(string(text))
	}
	name, _ := os.Hostname()
	return name
}

func drbdNames(c *conf.Config, name string) bool {
	for _, r := range c.Resources {
		for _, h := range r.Hosts {
			if h.Called(name) {
				return true
			}
		}
	}
	return false
}

// lintGroups gives what lint wants to know of the groups.
func lintGroups(spec ha.Spec, file string) (all []lint.Group) {
	for _, g := range spec.Groups {
		one := lint.Group{Name: g.Name, At: conf.Position{File: file}, Storage: len(g.Storage.Resources) > 0}
		for _, r := range g.Storage.Resources {
			one.Resources = append(one.Resources, r.Name)
		}
		for _, m := range g.Storage.Mounts {
			one.Mounts = append(one.Mounts, lint.GroupMount{Device: m.Device, Dir: m.Dir})
		}
		for _, u := range g.Units {
			if u.Kind == ha.UnitSystemd || u.Kind == ha.UnitSysV {
				one.Units = append(one.Units, u.Name)
			}
			one.Storage = one.Storage || strings.HasSuffix(u.Name, ".mount")
		}
		all = append(all, one)
	}
	return all
}

// printFindings prints a table whose third column has the reason and the better value below each finding.
func (a *app) printFindings(findings []lint.Finding) {
	if len(findings) == 0 {
		a.env.Talk("nothing to mend")
		return
	}
	place := len("PLACE")
	for _, f := range findings {
		place = max(place, utf8.RuneCountInString(cli.Printable(f.Position.String())))
	}
	line := func(at, severity, text string) {
		a.env.Print("%-*s  %-8s  %s\n", place, cli.Printable(at), severity, cli.Printable(text))
	}
	line("PLACE", "SEVERITY", "WHAT")
	for _, f := range findings {
		what := f.What
		if !f.Other.IsZero() {
			what += " (" + f.Other.String() + ")"
		}
		line(f.Position.String(), string(f.Severity), what)
		for _, more := range [][2]string{{"why", f.Why}, {"better", f.Better}} {
			if more[1] != "" {
				line("", "", more[0]+": "+more[1])
			}
		}
	}
}
