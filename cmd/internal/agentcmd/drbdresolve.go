package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/peer"
	"kvmctl/ha/salvage"
)

// The times of a resolution.
const (
	stepWait    = 25 * time.Second // for one step
	stepAgain   = 300 * time.Millisecond
	quietFor    = 2 * time.Minute  // for the loser to let go
	resyncStart = 30 * time.Second // for the two to connect
)

type resolveOptions struct {
	resource, keep, where string
	yes, json             bool
}

func newDRBDResolve(a *app) *cobra.Command {
	o := &resolveOptions{}
	cmd := &cobra.Command{
		Use:   "resolve <resource> [--keep <node>]",
		Short: "Show both sides of a split brain, or end it: keep one node's data",
		Long: `Without --keep: show what each side of a resource that is StandAlone says: its role, how much it has changed since the two parted, and who went on
alone. Nothing is changed.

With --keep: the data of the named node stay, and overwrite the other one's, the loser's. Both agents have to run, and to be paired; it may be typed on
either node. In this order: the loser ends what it serves; the other node goes on, or begins, to serve; what is on the loser's disks is kept (in
/var/lib/kvmha/split-brain/<time>-<resource> there, or below --keep-in; disks that do not fit are refused before anything is done); the loser connects and
takes the other one's data; it stands by when both have the same. "kvmha drbd kept" shows what was kept, and gets files back.

What does not come back stops it where nothing is lost: both sides stay as readable as they were, what is left to type is printed and mailed, and the same
command may be typed again. A split brain of which one side changed nothing needs no person: the agents end it by themselves.`,
		Example: `  kvmha drbd resolve r0
  kvmha drbd resolve r0 --keep vm-varda
  kvmha drbd resolve r0 --keep vm-varda --keep-in /mnt/usb --yes`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.resource = words[0]
			return a.runResolve(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.keep, "keep", "", "the `NODE` whose data stay")
	cmd.Flags().StringVar(&o.where, "keep-in", "", "keep the loser's data below `DIR`, an absolute path on the loser")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("keep", "json")
	return cmd
}

// resolver goes through the steps on both nodes.
type resolver struct {
	a        *app
	spec     ha.Spec
	peer     string
	resource string
	id       string
}

func (a *app) runResolve(ctx context.Context, o *resolveOptions) error {
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	r := &resolver{a: a, spec: spec, resource: o.resource, id: salvage.NewID(time.Now(), o.resource)}
	for _, n := range spec.Peers {
		if n.Role == peer.Member {
			r.peer = n.Name
		}
	}
	if o.keep == "" {
		return r.show(ctx, o.json)
	}
	loser := map[string]string{spec.Node: r.peer, r.peer: spec.Node}[o.keep]
	if loser == "" {
		return cli.Usage("kvmha drbd resolve "+o.resource+" --keep <node>", "cannot resolve %s: %q is neither %s nor %s", o.resource, o.keep, spec.Node, r.peer)
	}
	if o.where != "" && !filepath.IsAbs(o.where) {
		return cli.Usage("", "cannot resolve %s: %s is no absolute path", o.resource, o.where)
	}
	return r.keep(ctx, o, loser)
}

// on carries out a step on a node.
func (r *resolver) on(ctx context.Context, node string, q ha.ResolveRequest) (out ha.ResolveAnswer, err error) {
	q.Resource, q.ID = r.resource, r.id
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	if node == r.peer {
		return out, r.a.askPeerWith(ctx, &r.spec, node, peer.VerbSplitBrainStep, q, &out)
	}
	reply, err := r.a.askWithin(ctx, stepWait, "resolve "+r.resource, ha.Request{Verb: ha.VerbResolve, Resource: r.resource, Resolve: &q})
	if err == nil && reply.Resolve != nil {
		out = *reply.Resolve
	}
	return out, err
}

// sides is what is shown.
type sides struct {
	Resource string             `json:"resource"`
	Sides    []ha.ResolveAnswer `json:"sides"`
	Missing  []string           `json:"missing,omitempty"` // why a side says nothing
}

func (r *resolver) show(ctx context.Context, asJSON bool) error {
	s := sides{Resource: r.resource, Sides: []ha.ResolveAnswer{}}
	for _, node := range []string{r.spec.Node, r.peer} {
		side, err := r.on(ctx, node, ha.ResolveRequest{Step: ha.ResolveShow})
		if err != nil {
			if node == r.spec.Node {
				return err
			}
			s.Missing = append(s.Missing, fmt.Sprintf("%s says nothing: %v", node, permission(err)))
			continue
		}
		s.Sides = append(s.Sides, side)
	}
	if asJSON {
		return r.a.env.JSON(s)
	}
	var rows [][]string
	apart := false
	for _, side := range s.Sides {
		apart = apart || side.Apart()
		rows = append(rows, []string{side.Node, side.Role, side.Disk, side.Connection, side.Cause, kib(side.Changed), side.Record, side.Why})
	}
	var b strings.Builder
	if err := cli.Table(&b, []string{"NODE", "ROLE", "DISK", "CONNECTION", "CAUSE", "CHANGED", "RIGHT", "SINCE"}, rows); err != nil {
		return fmt.Errorf("cannot show %s: %w", r.resource, err)
	}
	r.a.env.Print("%s", b.String())
	for _, m := range s.Missing {
		r.a.env.Talk("%s", cli.Printable(m))
	}
	if apart {
		r.a.env.Talk("to keep one side's data: %s", r.a.env.Again("kvmha drbd resolve "+r.resource+" --keep <node>"))
	}
	return nil
}

func kib(n uint64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d GiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d MiB", n>>10)
	}
	return fmt.Sprintf("%d KiB", n)
}

// keep goes through the whole of it.
func (r *resolver) keep(ctx context.Context, o *resolveOptions, loser string) error {
	a := r.a
	if _, err := r.on(ctx, o.keep, ha.ResolveRequest{Step: ha.ResolveBegin}); err != nil {
		return r.refuse(o.keep, err)
	}
	begun, err := r.on(ctx, loser, ha.ResolveRequest{Step: ha.ResolveBegin, Loser: true, Where: o.where})
	if err != nil {
		r.end(ctx, o.keep)
		return r.refuse(loser, err)
	}
	a.env.Talk("%s: %s changed %s since the two parted; the data of %s will stay", r.resource, loser, kib(begun.Changed), o.keep)
	if err := a.sure(o.yes, fmt.Sprintf("What %s has is kept in %s there first, then overwritten. Type its name: ", loser, begun.Where), loser,
		"kvmha drbd resolve "+r.resource+" --keep "+o.keep+" --yes"); err != nil {
		r.end(ctx, loser, o.keep)
		return err
	}
	if err := r.until(ctx, loser, ha.ResolveRequest{Step: ha.ResolveLetGo}, quietFor, nil); err != nil {
		return r.fail(ctx, loser+" lets go", err, o, "kvmha status, on "+loser)
	}
	a.env.Talk("%s has let go", loser)
	// The survivor listens from here on, so that it can serve while the loser's disks are copied, however long that takes.
	if err := r.until(ctx, o.keep, ha.ResolveRequest{Step: ha.ResolveConnect}, stepWait, nil); err != nil {
		return r.fail(ctx, o.keep+" connects", err, o, "")
	}
	progress := func(s ha.ResolveAnswer) string {
		return fmt.Sprintf("%s: %d of %d MiB kept", loser, s.Read>>20, begun.Needs>>20)
	}
	if err := r.until(ctx, loser, ha.ResolveRequest{Step: ha.ResolveKeep, Survivor: o.keep, Where: o.where}, 0, progress); err != nil {
		return r.fail(ctx, "keep what "+loser+" has", err, o, "")
	}
	a.env.Talk("what %s had is kept in %s there: kvmha drbd kept", loser, begun.Where)
	if err := r.until(ctx, o.keep, ha.ResolveRequest{Step: ha.ResolveConnect}, stepWait, nil); err != nil { // it may have met the loser meanwhile, and given up again
		return r.fail(ctx, o.keep+" connects", err, o, "")
	}
	if err := r.until(ctx, loser, ha.ResolveRequest{Step: ha.ResolveDiscard}, stepWait, nil); err != nil {
		return r.fail(ctx, loser+" connects", err, o, fmt.Sprintf("drbdadm connect --discard-my-data %s, on %s", r.resource, loser))
	}
	if err := r.resync(ctx, loser); err != nil {
		return r.fail(ctx, "resync "+loser, err, o, "kvmha drbd resolve "+r.resource)
	}
	r.end(ctx, loser, o.keep)
	a.env.Talk("%s: both have the same data", r.resource)
	return nil
}

// until repeats a step until it is done; limit 0: as long as it takes. Each answer's own deadline holds in any case.
func (r *resolver) until(ctx context.Context, node string, q ha.ResolveRequest, limit time.Duration, progress func(ha.ResolveAnswer) string) error {
	began, said := time.Now(), time.Now()
	for {
		s, err := r.on(ctx, node, q)
		switch {
		case err != nil:
			return err
		case s.Done:
			return nil
		case limit > 0 && time.Since(began) > limit:
			return fmt.Errorf("it is not done after %v: %s is %s", limit, node, s.Role)
		case progress != nil && time.Since(said) > patient:
			said = time.Now()
			r.a.env.Talk("%s", progress(s))
		}
		if err := pause(ctx, stepAgain); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

var errApart = errors.New("the two do not connect: one of them is StandAlone again")

// resync waits until both have the same.
func (r *resolver) resync(ctx context.Context, loser string) error {
	began, said := time.Now(), time.Now()
	for {
		s, err := r.on(ctx, loser, ha.ResolveRequest{Step: ha.ResolveShow})
		switch {
		case err != nil:
			return err
		case s.Percent == 100:
			return nil
		case s.Connection != "Connected" && time.Since(began) > resyncStart:
			return errApart
		case time.Since(said) > patient:
			said = time.Now()
			r.a.env.Talk("%s: %s, %.0f %% in sync", r.resource, s.Connection, s.Percent)
		}
		if err := pause(ctx, stepAgain); err != nil {
			return err
		}
	}
}

func (r *resolver) end(ctx context.Context, nodes ...string) {
	for _, node := range nodes {
		_, _ = r.on(ctx, node, ha.ResolveRequest{Step: ha.ResolveEnd}) // a lock that stays ends by itself
	}
}

// refuse says why nothing was begun.
func (r *resolver) refuse(node string, err error) error {
	hint := "kvmha drbd resolve " + r.resource
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && h.Hint() != "" {
		hint = h.Hint()
	}
	text := cli.Printable(strings.ReplaceAll(permission(err).Error(), "\n", "; "))
	return cli.Refused(hint, "cannot resolve %s: %s: %s; nothing was done", r.resource, node, strings.TrimPrefix(text, "cannot resolve "+r.resource+": "))
}

// fail says where it stopped and what is left to do, here and by mail. left: what a person types instead; empty: the same again.
func (r *resolver) fail(ctx context.Context, what string, err error, o *resolveOptions, left string) error {
	again := "kvmha drbd resolve " + r.resource + " --keep " + o.keep
	if left == "" {
		left = again
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepWait)
	defer cancel()
	text := fmt.Sprintf("%s: %v", what, err)
	for _, node := range []string{r.spec.Node, r.peer} {
		_, _ = r.on(within, node, ha.ResolveRequest{Step: ha.ResolveFailed, Text: text, Command: left}) // whoever can be reached mails
	}
	hint := left
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && h.Hint() != "" {
		hint = h.Hint()
	}
	return cli.Failed(hint, "cannot resolve %s: %s; both sides are as readable as before", r.resource, cli.Printable(strings.ReplaceAll(text, "\n", "; ")))
}
