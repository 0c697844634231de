package ha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"kvmctl/ha/failover"
	"kvmctl/ha/peer"
	"kvmctl/ha/salvage"
	"kvmctl/ha/storage"
)

// ResolveStep is one step of resolving a split brain, on one of its two nodes. Whoever resolves it goes through them in order; each may be asked for again
// until it is done, and whatever comes in between, both sides stay as readable as they were.
type ResolveStep string

// The steps.
const (
	ResolveShow    ResolveStep = "show"    // changes nothing
	ResolveBegin   ResolveStep = "begin"   // one person at a time, from here on
	ResolveLetGo   ResolveStep = "let-go"  // the loser: whatever it serves ends
	ResolveConnect ResolveStep = "connect" // the survivor: it listens for the loser, and may serve
	ResolveKeep    ResolveStep = "keep"    // the loser: what is on its disks is kept
	ResolveDiscard ResolveStep = "discard" // the loser: it takes the survivor's data
	ResolveEnd     ResolveStep = "end"
	ResolveFailed  ResolveStep = "failed" // it ends in the middle: people are told what is left to do
)

// ResolveRequest asks for a step.
type ResolveRequest struct {
	Step     ResolveStep `json:"step"`
	Resource string      `json:"resource"`
	ID       string      `json:"id,omitempty"`       // names what is kept, and who resolves
	Survivor string      `json:"survivor,omitempty"` // of keep
	Where    string      `json:"where,omitempty"`    // of begin and keep, on the loser: a directory for the images; empty: the usual one
	Loser    bool        `json:"loser,omitempty"`    // of begin: the data here are to be kept
	Text     string      `json:"text,omitempty"`     // of failed
	Command  string      `json:"command,omitempty"`  // likewise
}

// ResolveAnswer says how far it is.
type ResolveAnswer struct {
	storage.Side

	Done  bool   `json:"done"`
	Needs uint64 `json:"needs,omitempty"` // bytes, of begin on the loser
	Free  uint64 `json:"free,omitempty"`
	Read  uint64 `json:"read,omitempty"` // bytes, of keep
	Where string `json:"where,omitempty"`
}

// resolvedFor is after how long a resolver that says nothing more is taken for gone: it asks several times a second, and no step holds it up for longer than
// quietWait.
const resolvedFor = 15 * time.Second

// resolving is the one split brain that is being resolved on this node.
type resolving struct {
	life context.Context // the agent's: a copy outlives the request that begins it

	mu   sync.Mutex
	id   string
	used time.Time
	keep *keeping
}

// keeping is a copy of the loser's disks under way.
type keeping struct {
	stop context.CancelFunc
	note salvage.Kept
	read uint64
	done bool
	err  error
}

var errResolving = &storage.RefusedError{Why: fmt.Sprintf("somebody else is resolving a split brain on this node, or was %v ago", resolvedFor)}

// hold takes the lock for id, or keeps it.
func (r *resolving) hold(now time.Time, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !salvage.IsID(id):
		return &storage.RefusedError{Why: fmt.Sprintf("%.80q does not name a resolution", id)}
	case r.id != "" && r.id != id && now.Sub(r.used) < resolvedFor:
		return errResolving
	case r.id != id:
		r.forget()
	}
	r.id, r.used = id, now
	return nil
}

func (r *resolving) end(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id == id {
		r.id = ""
		r.forget()
	}
}

// forget ends a copy that nobody waits for any more; mu is held.
func (r *resolving) forget() {
	if r.keep != nil {
		r.keep.stop()
		r.keep = nil
	}
}

// resolve carries out a step. It runs beside the loop.
func (a *Agent) resolve(ctx context.Context, r ResolveRequest) (out ResolveAnswer, err error) {
	k := a.keepers.withResource(r.Resource)
	if k == nil {
		return out, &storage.RefusedError{Why: fmt.Sprintf("no group of %s has the resource %.80q", a.Spec.Node, r.Resource), Command: "kvmha status"}
	}
	if r.Step != ResolveShow {
		if err := a.resolving.hold(a.Clock.Now(), r.ID); err != nil {
			return out, err
		}
		a.Log.Info("resolves a split brain", "group", k.Group, "resource", r.Resource, "step", string(r.Step), "id", r.ID)
	}
	switch r.Step {
	case ResolveShow:
		out.Done = true
	case ResolveBegin:
		out.Done, err = true, a.mayResolve(k, r, &out)
	case ResolveLetGo:
		out.Done, err = a.makeQuiet(ctx, k, r.Resource)
	case ResolveKeep:
		err = a.keepLosers(ctx, k, r, &out)
	case ResolveDiscard:
		out.Done, err = true, a.discard(ctx, k, r)
	case ResolveConnect:
		out.Done, err = true, k.Join(ctx, r.Resource)
	case ResolveEnd:
		a.resolving.end(r.ID)
		out.Done = true
	case ResolveFailed:
		a.sayFailed(k, r)
		a.resolving.end(r.ID)
		out.Done = true
	default:
		err = &storage.RefusedError{Why: fmt.Sprintf("nobody here knows the step %.40q", r.Step)}
	}
	if err != nil {
		if r.Step == ResolveBegin {
			a.resolving.end(r.ID)
		}
		return out, err
	}
	out.Side, err = k.Side(r.Resource)
	return out, err
}

// mayResolve refuses what is none, and says whether the loser's disks fit where they would be kept.
func (a *Agent) mayResolve(k *storage.Keeper, r ResolveRequest, out *ResolveAnswer) error {
	side, err := k.Side(r.Resource)
	if err != nil {
		return err
	}
	if why := notSplit(side); r.Loser && why != "" {
		return &storage.RefusedError{Why: why, Command: "kvmha drbd status " + r.Resource}
	}
	if !r.Loser {
		return nil
	}
	images, err := a.Disks.Backing(r.Resource)
	if err != nil {
		return err
	}
	for _, i := range images {
		out.Needs += i.Size
	}
	where := a.keptWhere(r)
	if !filepath.IsAbs(where) {
		return &storage.RefusedError{Why: fmt.Sprintf("%.200q is no absolute path", where)}
	}
	out.Where = where
	if out.Free, err = salvage.Free(where); err != nil {
		return err
	}
	if out.Free < out.Needs {
		return &storage.RefusedError{Why: fmt.Sprintf("the disks of %s have %d MiB, and there is room for %d MiB in %s on %s: nothing was done", r.Resource, out.Needs>>20, out.Free>>20, filepath.Dir(where), a.Spec.Node),
			Command: "kvmha drbd resolve " + r.Resource + " --keep <node> --keep-in <directory>"}
	}
	return nil
}

// notSplit says why there is nothing to be resolved by a choice; empty: there is.
func notSplit(s storage.Side) string {
	switch s.Cause {
	case "split brain", "unclear", "unrelated data":
		return ""
	case "together":
		return fmt.Sprintf("it is not StandAlone on %s (%s)", s.Node, s.Connection)
	}
	return fmt.Sprintf("this is no split brain: %s, it is %s", s.Node, s.Cause)
}

func (a *Agent) keptWhere(r ResolveRequest) string {
	if r.Where != "" {
		return filepath.Join(r.Where, r.ID)
	}
	return filepath.Join(a.Disks.Kept, r.ID)
}

// quietWait is how long a step waits for the group to let go; then it is asked for again.
const quietWait = 8 * time.Second

// makeQuiet has a group end what it serves here, by a maintenance that lasts until then. StandAlone, it takes nothing back.
func (a *Agent) makeQuiet(ctx context.Context, k *storage.Keeper, resource string) (done bool, err error) {
	maintain := func(on bool) {
		a.post(ctx, func(time.Time) {
			if g := a.group(k.Group); g != nil && !g.maintenance {
				a.push(g, failover.Maintenance{On: on})
			}
		})
	}
	if k.Quiet(resource) {
		return true, nil
	}
	maintain(true)
	defer maintain(false)
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	late := time.After(quietWait)
	for !k.Quiet(resource) {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-late:
			return false, nil
		case <-t.C:
		}
	}
	return true, nil
}

var (
	errNotKept   = &storage.RefusedError{Why: "what is on its disks was not kept before"}
	errStillBusy = &storage.RefusedError{Why: "the resource is still primary here"}
)

// keepLosers begins to copy the disks, or says how far that is.
func (a *Agent) keepLosers(ctx context.Context, k *storage.Keeper, r ResolveRequest, out *ResolveAnswer) error {
	if !k.Quiet(r.Resource) {
		return errStillBusy
	}
	a.resolving.mu.Lock()
	defer a.resolving.mu.Unlock()
	if a.resolving.keep == nil {
		side, err := k.SideNow(ctx, r.Resource)
		if err != nil {
			return err
		}
		images, err := a.Disks.Backing(r.Resource)
		if err != nil {
			return err
		}
		life, stop := context.WithCancel(a.resolving.life)
		note := salvage.Kept{ID: r.ID, Resource: r.Resource, Group: k.Group, Node: a.Spec.Node, Survivor: r.Survivor, At: time.Now().UTC().Truncate(time.Second), Changed: side.Changed,
			Where: a.keptWhere(r), Images: images}
		one := &keeping{stop: stop, note: note}
		a.resolving.keep = one
		a.beside.Go(func() { a.copyDisks(life, one) })
	}
	one := a.resolving.keep
	out.Read, out.Done, out.Where = one.read, one.done && one.err == nil, a.keptWhere(r)
	return one.err
}

func (a *Agent) copyDisks(ctx context.Context, one *keeping) {
	err := salvage.Keep(ctx, a.Disks.Kept, one.note, func(read uint64) {
		a.resolving.mu.Lock()
		one.read = read
		a.resolving.mu.Unlock()
	})
	a.resolving.mu.Lock()
	defer a.resolving.mu.Unlock()
	one.done, one.err = true, err
	one.stop()
}

// discard has the loser connect, once its data are kept.
func (a *Agent) discard(ctx context.Context, k *storage.Keeper, r ResolveRequest) error {
	a.resolving.mu.Lock()
	one := a.resolving.keep
	kept := one != nil && one.done && one.err == nil
	a.resolving.mu.Unlock()
	if !kept {
		return errNotKept
	}
	return k.Discard(ctx, r.Resource, one.note.Changed)
}

// sayFailed tells people what is left to do.
func (a *Agent) sayFailed(k *storage.Keeper, r ResolveRequest) {
	a.Log.Error("a split brain was not resolved", "group", k.Group, "resource", r.Resource, "why", r.Text)
	a.tellOf(k.Group, failover.Alert{Kind: failover.AlertNotice, Subject: failover.AboutStandAlone, Name: r.Resource, Facts: []string{r.Text}, Command: r.Command})
}

// known is the file as the channel has it.
func (c *channel) known() Spec {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spec
}

// askedResolve carries out a step for the peer.
func (c *channel) askedResolve(ctx context.Context, from peer.Node, in json.RawMessage) (any, error) {
	var r ResolveRequest
	if json.Unmarshal(in, &r) != nil {
		return nil, &peer.AnswerError{Code: peer.CodeBadRequest, Text: "this is no step"}
	}
	if k := c.a.keepers.withResource(r.Resource); k == nil || from.Role != peer.Member || from.Name != k.Config.Peer {
		return nil, &peer.AnswerError{Code: peer.CodeNoStorage, Text: fmt.Sprintf("there is no resource %.80q here that %s shares", r.Resource, from.Name)}
	}
	out, err := c.a.resolve(ctx, r)
	if refused, ok := errors.AsType[*storage.RefusedError](err); ok {
		return nil, &peer.AnswerError{Code: peer.CodeRefused, Text: refused.Why, Advice: refused.Command}
	}
	return out, err
}
