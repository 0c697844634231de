package ha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/peer"
)

// ArbiterStatus is a record that this node keeps for others.
type ArbiterStatus struct {
	Group   string     `json:"group"`
	Members []string   `json:"members"`
	Holder  string     `json:"holder,omitempty"` // who went on alone last; empty: nobody ever
	N       uint64     `json:"n"`
	When    *time.Time `json:"when,omitempty"`  // by this node's wall clock
	Wrong   string     `json:"wrong,omitempty"` // why there is no record to decide by; empty: there is one
	Fix     string     `json:"fix,omitempty"`   // the command that helps then
}

// witness is the agent as the arbiter of others. It reads and writes beside the loop, which sees only what was found last.
type witness struct {
	a *Agent

	mu    sync.Mutex
	store *arbiter.Store // nil: no group is declared, or its directory cannot be used
	want  []arbiter.Group
	found []ArbiterStatus
}

const subjectArbiter = "arbiter"

// use opens the records of the groups that the file has now.
func (w *witness) use(ctx context.Context, groups []arbiter.Group) {
	w.mu.Lock()
	w.want = groups
	w.mu.Unlock()
	w.open(ctx)
	w.look(ctx)
}

// open opens the records, or notes why it cannot.
func (w *witness) open(ctx context.Context) {
	w.mu.Lock()
	want := w.want
	w.mu.Unlock()
	var store *arbiter.Store
	var err error
	if len(want) > 0 {
		store, err = arbiter.Open(ctx, w.a.Records, want)
	}
	w.a.Degrade(subjectArbiter, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.store = store; store == nil {
		w.found = nil
	}
}

// look reads what the records are now: kvmha arbiter create may have made one.
func (w *witness) look(ctx context.Context) {
	w.mu.Lock()
	store, want := w.store, w.want
	w.mu.Unlock()
	if store == nil && len(want) > 0 {
		w.open(ctx)
		return
	}
	if store == nil {
		return
	}
	var found []ArbiterStatus
	for _, g := range want {
		r, err := store.Look(ctx, g.Name)
		s := ArbiterStatus{Group: g.Name, Members: slices.Clone(g.Members), Holder: r.Holder, N: r.N}
		if err == nil && r.N > 0 {
			s.When = &r.When
		}
		if err != nil {
			s.Wrong = err.Error()
		}
		if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			s.Fix = h.Hint()
		}
		found = append(found, s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.store == store {
		w.found = found
	}
}

// status is what was found last.
func (w *witness) status() []ArbiterStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.found)
}

// handle answers a member, and has each win in the log.
func (w *witness) handle(ctx context.Context, from peer.Node, in json.RawMessage) (any, error) {
	w.mu.Lock()
	store := w.store
	w.mu.Unlock()
	if store == nil {
		return nil, &peer.AnswerError{Code: peer.CodeRefused, Text: fmt.Sprintf("%s is the arbiter of no group", w.a.Options.Spec.Node), Advice: "[arbiter.group.<name>] in its kvmha.toml"}
	}
	out, err := store.Handler(w.told)(ctx, from, in)
	w.look(ctx)
	return out, err
}

// told puts a decision in the log: who, which number, and why not.
func (w *witness) told(from string, r arbiter.Request, err error) {
	if err != nil {
		w.a.Log.Warn("may not go on alone", "group", fmt.Sprintf("%.40q", r.Group), "node", from, "n", r.N, "why", err)
		return
	}
	w.a.Log.Info("may go on alone", "group", r.Group, "node", from, "n", r.N, "id", r.ID.String())
}
