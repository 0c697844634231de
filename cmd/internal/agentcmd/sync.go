package agentcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/confsync"
	"kvmctl/ha/unit"
	"kvmctl/internal/systemd"
)

// syncWait bounds one run by hand.
const syncWait = 10 * time.Minute

type syncOptions struct {
	names  []string
	dryRun bool
	json   bool
}

// synced is one line of kvmha sync --json.
type synced struct {
	Name string `json:"name"`
	From string `json:"from"`
	confsync.Changes
	Swapped bool `json:"swapped"`        // the new files are in place
	Held    bool `json:"held,omitempty"` // a rollback keeps them away
}

func newSync(a *app) *cobra.Command {
	var o syncOptions
	cmd := &cobra.Command{
		Use:   "sync [<name>...]",
		Short: "Copy configuration from the active node to this one",
		Long: `Copy what each [[sync]] of kvmha.toml names from the node that is active in its group to this one, now: by rsync,
through the peer channel. The new files are staged beside the old ones, judged by the sync's validate command, which
sees them at their places, and exchanged with the old ones at once; then reload is run. What is equal changes
nothing. The agent does the same as often as the file says.

Refused with exit code 3: on the active node, when no peer is known to be active, when the source is empty, and when
more files would go than max_delete allows. A run that is killed is finished or undone by the next one.
--dry-run does everything but the exchange. What "kvmha sync rollback" put away is copied again when it is named here.`,
		Example: `  kvmha sync
  kvmha sync zones --dry-run`,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			return a.runSync(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "change nothing here")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.AddCommand(newSyncList(a), newSyncVersions(a), newSyncRollback(a))
	return cmd
}

// jobs gives the syncs of the file with these names; none: all.
func (a *app) jobs(names []string) ([]confsync.Job, error) {
	spec, err := a.load(a.configPath())
	if err != nil || len(names) == 0 {
		return spec.Syncs, err
	}
	var all []confsync.Job
	for _, name := range names {
		i := slices.IndexFunc(spec.Syncs, func(j confsync.Job) bool { return j.Name == name })
		if i < 0 {
			return nil, cli.Usage("kvmha sync list", "cannot sync %q: the file has no such [[sync]]", name)
		}
		all = append(all, spec.Syncs[i])
	}
	return all, nil
}

func (a *app) runSync(ctx context.Context, o syncOptions) error {
	if err := a.needRoot("sync"); err != nil {
		return err
	}
	jobs, err := a.jobs(o.names)
	if err != nil {
		return err
	}
	reply, err := a.ask(ctx, "sync", ha.Request{Verb: ha.VerbStatus})
	if err != nil {
		return err
	}
	if reply.Status == nil {
		return errNoStatus
	}
	all := []synced{}
	var errs []error
	for _, job := range jobs {
		one, err := a.syncOne(ctx, *reply.Status, job, o)
		if err != nil {
			errs = append(errs, syncError(job.Name, err))
			continue
		}
		all = append(all, one)
	}
	if o.json {
		return errors.Join(append(errs, a.env.JSON(all))...)
	}
	for _, s := range all {
		switch c := s.Changes; {
		case s.Held:
			a.env.Print("%s: a rollback keeps away what %s has until it changes there; to copy it: %s\n", s.Name, s.From, a.env.Again("kvmha sync "+s.Name))
		case c.None():
			a.env.Print("%s: equal to %s, %s\n", s.Name, s.From, count(c.New, "file"))
		default:
			a.env.Print("%s: from %s: %d new, %d changed, %d deleted%s\n", s.Name, s.From, c.Added, c.Changed, c.Deleted, map[bool]string{false: "; not done"}[s.Swapped])
		}
	}
	return errors.Join(errs...)
}

func (a *app) syncOne(ctx context.Context, s ha.Status, job confsync.Job, o syncOptions) (synced, error) {
	from, err := ha.SyncSource(s, job.Group)
	if err != nil {
		return synced{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	e, err := a.engine(from)
	if err != nil {
		return synced{}, err
	}
	e.Anyway = len(o.names) > 0 // who names it means it
	c, err := e.Run(ctx, job, o.dryRun)
	_, held := errors.AsType[*confsync.HeldError](err)
	if held {
		err = nil
	}
	return synced{job.Name, from, c, !o.dryRun && !held && !c.None(), held}, err
}

// syncError chooses the exit code: what protects the files here is a refusal.
func syncError(name string, err error) error {
	_, shrunk := errors.AsType[*confsync.ShrinkError](err)
	_, invalid := errors.AsType[*confsync.InvalidError](err)
	_, odd := errors.AsType[*confsync.OddError](err)
	_, ended := errors.AsType[*confsync.EndedError](err)
	_, nowhere := errors.AsType[*ha.NoSourceError](err)
	if shrunk || invalid || odd || ended || nowhere || errors.Is(err, ha.ErrSource) {
		var hint interface{ Hint() string }
		text := ""
		if errors.As(err, &hint) {
			text = hint.Hint()
		}
		return cli.Refused(text, "cannot sync %s: %w", name, err)
	}
	return fmt.Errorf("cannot sync %s: %w", name, err)
}

// copyFrom is what the agent runs when a job is due.
func (a *app) copyFrom(ctx context.Context, job confsync.Job, from string) error {
	e, err := a.engine(from)
	if err != nil {
		return err
	}
	_, err = e.Run(ctx, job, false)
	if _, held := errors.AsType[*confsync.HeldError](err); held { // as somebody wants it; the status shows it
		return nil
	}
	return err
}

// heldSince tells the agent whether a rollback keeps what the source has away.
func (a *app) heldSince(job confsync.Job) (time.Time, error) {
	return confsync.Held(a.syncPath(), job.Name)
}

// reloadUnit has systemd reload a unit, where there is one.
func reloadUnit() func(context.Context, string) error {
	if !systemd.Booted() {
		return nil
	}
	return func(ctx context.Context, name string) error { return unit.Systemd{Unit: name}.Reload(ctx) }
}

// syncPath is where the journals of config sync are.
func (a *app) syncPath() string { return filepath.Join(a.statePath(), "sync") }

// stillFrom asks the agent whether a peer is the source yet.
func (a *app) stillFrom(from string) func(context.Context, confsync.Job) error {
	return func(ctx context.Context, job confsync.Job) error {
		reply, err := ha.Ask(ctx, a.socketPath(), ha.Request{Verb: ha.VerbStatus})
		if err != nil || reply.Status == nil {
			return errors.Join(errNoStatus, err)
		}
		now, err := ha.SyncSource(*reply.Status, job.Group)
		if err == nil && now != from {
			err = &ha.NoSourceError{Group: job.Group, Why: now + " has followed " + from}
		}
		return err
	}
}

// engine copies from a peer by rsync whose remote shell is this program.
func (a *app) engine(from string) (*confsync.Engine, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &confsync.Engine{State: a.syncPath(), Unit: reloadUnit(), Still: a.stillFrom(from), Source: func(job confsync.Job, i int) (shell, source string) {
		words := []string{self, "sync-shell", "--config", a.configPath()}
		if a.root != "" {
			words = append(words, "--root", a.root)
		}
		for k, w := range append(words, from, job.Name, strconv.Itoa(i)) {
			if k > 0 {
				shell += " "
			}
			shell += "'" + strings.ReplaceAll(w, "'", "''") + "'" // as rsync(1) reads -e
		}
		name := filepath.Base(job.Paths[i]) // rsync takes nothing else from the other end
		if strings.HasSuffix(job.Paths[i], "/") {
			name += "/"
		}
		return shell, from + ":" + name
	}}, nil
}

func newSyncList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Show what is copied",
		Long:    "Show each [[sync]] of kvmha.toml: its group, when the agent copies, and its paths.",
		Example: "  kvmha sync list",
		Args:    args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return a.runSyncList(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// syncLine is one line of kvmha sync list.
type syncLine struct {
	Name     string   `json:"name"`
	Group    string   `json:"group"`
	Every    float64  `json:"every_seconds"` // 0: not by the clock
	At       string   `json:"at,omitempty"`  // a time of day
	OnChange bool     `json:"on_change,omitempty"`
	Paths    []string `json:"paths"`
}

func (a *app) runSyncList(asJSON bool) error {
	jobs, err := a.jobs(nil)
	if err != nil {
		return err
	}
	all := []syncLine{}
	var rows [][]string
	for _, j := range jobs {
		line := syncLine{Name: j.Name, Group: j.Group, Every: j.Every.Seconds(), OnChange: j.OnChange, Paths: j.Paths}
		if j.At.Set {
			line.At = j.At.String()
		}
		all = append(all, line)
		rows = append(rows, []string{j.Name, j.Group, whenSync(j), strings.Join(j.Paths, " ")})
	}
	if asJSON {
		return a.env.JSON(all)
	}
	var b bytes.Buffer
	if err := cli.Table(&b, []string{"SYNC", "GROUP", "WHEN", "PATHS"}, rows); err != nil {
		return fmt.Errorf("cannot list the syncs: %w", err)
	}
	a.env.Print("%s", b.String())
	return nil
}
