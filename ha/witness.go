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
	Group   string      `json:"group"`
	Members []string    `json:"members"`
	Holder  string      `json:"holder,omitempty"` // who went on alone last; empty: nobody ever
	N       uint64      `json:"n"`
	When    *time.Time  `json:"when,omitempty"`  // by the wall clock of the node that wrote it
	Etcd    []string    `json:"etcd,omitempty"`  // the endpoints of the etcd that keeps it; empty: a file of this node does
	Wrong   string      `json:"wrong,omitempty"` // why there is no record to decide by; empty: there is one
	Why     arbiter.Why `json:"why,omitempty"`   // the kind of what is wrong; empty: nothing is, or what keeps it does not answer
	Fix     string      `json:"fix,omitempty"`   // the command that helps then
}

// The times of looking at records.
const (
	lookFiles = time.Second      // from one look to the next
	lookEtcd  = 5 * time.Second  // likewise at an etcd, for which it is work
	lookWait  = 15 * time.Second // for one look at them all
)

// kept is what the file says of the records that this node keeps.
type kept struct {
	groups []arbiter.Group
	etcd   arbiter.EtcdAt
}

// witness is the agent as the arbiter of others. It looks, opens and decides beside the loop, which sees only what was found last: an etcd may answer
// late or never.
type witness struct {
	a     *Agent
	node  string        // this one's name
	nudge chan struct{} // look now

	mu     sync.Mutex
	keeper arbiter.Keeper // nil: no group is declared, or it cannot be opened
	want   kept
	opened bool // keeper is what want asks for
	found  []ArbiterStatus
}

const subjectArbiter = "arbiter"

func newWitness(a *Agent) *witness {
	return &witness{a: a, node: a.Spec.Node, nudge: make(chan struct{}, 1)}
}

// use says what the file has now.
func (w *witness) use(want kept) {
	w.mu.Lock()
	w.want, w.opened = want, false
	w.mu.Unlock()
	w.lookSoon()
}

func (w *witness) lookSoon() {
	select {
	case w.nudge <- struct{}{}:
	default: // it will
	}
}

// run looks until ctx ends: kvmha arbiter create may have made a record, in a file or from another node.
func (w *witness) run(ctx context.Context) {
	defer func() {
		if k := w.keeping(); k != nil {
			k.Close()
		}
	}()
	tick := time.NewTimer(lookFiles)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.nudge:
		case <-tick.C:
		}
		w.look(ctx)
		tick.Reset(w.pause())
	}
}

func (w *witness) pause() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.want.etcd.Named() {
		return lookEtcd
	}
	return lookFiles
}

func (w *witness) keeping() arbiter.Keeper {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keeper
}

// open opens what the file asks for, where that is not open yet, or gives why it cannot; then nobody is decided for.
func (w *witness) open(ctx context.Context) (k arbiter.Keeper, want kept, err error) {
	w.mu.Lock()
	before, want, opened := w.keeper, w.want, w.opened
	w.mu.Unlock()
	if opened {
		return before, want, nil
	}
	if len(want.groups) > 0 {
		k, err = arbiter.Keep(ctx, w.a.Records, want.groups, want.etcd)
	}
	if err != nil {
		k = nil // not an interface that holds one
	}
	w.mu.Lock()
	w.keeper = k
	if w.opened = err == nil && sameKept(w.want, want); k == nil { // not the same: the file has changed meanwhile, and a look is due
		w.found = nil
	}
	w.mu.Unlock()
	if before != nil {
		before.Close()
	}
	return k, want, err
}

func sameKept(a, b kept) bool {
	return slices.EqualFunc(a.groups, b.groups, func(a, b arbiter.Group) bool { return a.Name == b.Name && slices.Equal(a.Members, b.Members) }) &&
		slices.Equal(a.etcd.Endpoints, b.etcd.Endpoints) && a.etcd.Prefix == b.etcd.Prefix &&
		a.etcd.CAFile == b.etcd.CAFile && a.etcd.CertFile == b.etcd.CertFile && a.etcd.KeyFile == b.etcd.KeyFile
}

// look reads what the records are now.
func (w *witness) look(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	k, want, err := w.open(within)
	if k == nil {
		w.a.Degrade(subjectArbiter, err)
		return
	}
	var found []ArbiterStatus
	for _, g := range want.groups {
		r, no := k.Look(within, g.Name)
		s := ArbiterStatus{Group: g.Name, Members: slices.Clone(g.Members), Holder: r.Holder, N: r.N, Etcd: slices.Clone(want.etcd.Endpoints)}
		if no == nil && r.N > 0 {
			s.When = &r.When
		}
		if no != nil {
			s.Wrong = no.Error()
		}
		if refused, ok := errors.AsType[*arbiter.RefusedError](no); ok {
			s.Why, s.Fix = refused.Why, refused.Hint()
		} else if err == nil {
			err = no
		}
		found = append(found, s)
	}
	if err == nil {
		err = k.Ready(within)
	}
	if ctx.Err() == nil { // at the agent's end nothing answers
		w.a.Degrade(subjectArbiter, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.keeper == k {
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
	k := w.keeping()
	if k == nil {
		return nil, &peer.AnswerError{Code: peer.CodeRefused, Text: fmt.Sprintf("%s is the arbiter of no group", w.node), Advice: "[arbiter.group.<name>] in its kvmha.toml"}
	}
	defer w.lookSoon()
	return arbiter.Handler(k, w.told)(ctx, from, in)
}

// told puts a decision in the log: who, which number, and why not.
func (w *witness) told(from string, r arbiter.Request, err error) {
	if err != nil {
		w.a.Log.Warn("may not go on alone", "group", fmt.Sprintf("%.40q", r.Group), "node", from, "n", r.N, "why", err)
		return
	}
	w.a.Log.Info("may go on alone", "group", r.Group, "node", from, "n", r.N, "id", r.ID.String())
}
