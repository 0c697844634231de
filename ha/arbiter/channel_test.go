//go:build linux

package arbiter

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"kvmctl/ha/peer"
)

func identity(t *testing.T) *peer.Identity {
	t.Helper()
	id, err := peer.CreateIdentity(filepath.Join(t.TempDir(), peer.Dir))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serve has a handler answer for an arbiter that knows a, b and c; it gives how each of them sees it.
func serve(t *testing.T, h peer.Handler) map[string]Remote {
	t.Helper()
	own := identity(t)
	keys := map[string]*peer.Identity{}
	var nodes []peer.Node
	for _, name := range []string{"a", "b", "c"} {
		keys[name] = identity(t)
		nodes = append(nodes, peer.Node{Name: name, Key: keys[name].Public(), Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, Role: peer.Member})
	}
	s := peer.NewServer("test", nil)
	s.Handle(peer.VerbArbiter, h)
	s.Use(own, nodes)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	at := peer.Node{Name: "witness", Key: own.Public(), Addresses: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}, Role: peer.Arbiter}
	remotes := map[string]Remote{}
	for name, key := range keys {
		c := peer.NewClient("test", key)
		t.Cleanup(c.Close)
		remotes[name] = Remote{c, at}
	}
	t.Cleanup(func() { cancel(); done.Wait() })
	return remotes
}

// TestChannel has a shorter race than the other arbiters: each request is a handshake, and the channel lets so many through a second.
func TestChannel(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), Dir), groups()...)
	remotes := serve(t, Handler(s, nil))
	ctx := t.Context()
	for _, tt := range contract[:9] {
		if _, err := s.Create(ctx, tt.name, tt.holds, tt.n, false); err != nil {
			t.Fatal(err)
		}
		for i, step := range tt.steps {
			got, err := patient{remotes[step.from]}.Ask(ctx, Request{tt.name, step.from, step.n, id(step.id)})
			if outcome(got, err) != step.want {
				t.Errorf("%s: request %d: %s (%v), want %s", tt.name, i+1, outcome(got, err), err, step.want)
			}
		}
	}
	// Who asks is whose key it is.
	if got, err := (patient{remotes["b"]}).Ask(ctx, Request{"first", "a", 2, id(7)}); outcome(got, err) != "refused: no-member" || err.Error() != "b asks for a: a node asks for itself alone" {
		t.Errorf("b for a: %s: %v", outcome(got, err), err)
	}
	if got, err := (patient{remotes["c"]}).Look(ctx, "first"); outcome(got, err) != "refused: no-member" {
		t.Errorf("a stranger looks: %s: %v", outcome(got, err), err)
	}
	if got, err := (patient{remotes["a"]}).Look(ctx, "first"); err != nil || got.Holder != "a" || got.N != 1 {
		t.Errorf("look: %v, %v", got, err)
	}
	for name, err := range map[string]error{"missing": ErrMissing, "nowhere": ErrNoGroup} {
		if got, e := (patient{remotes["a"]}).Ask(ctx, Request{name, "a", 1, id(1)}); !errors.Is(e, err) {
			t.Errorf("%s: %s: %v", name, outcome(got, e), e)
		}
	}
	_, err := patient{remotes["a"]}.Ask(ctx, Request{"missing", "a", 1, id(1)})
	if no, ok := errors.AsType[*RefusedError](err); !ok || no.Hint() != restoreHint("missing") {
		t.Errorf("the hint did not come along: %v", err)
	}
	if _, err := s.Create(ctx, pair.Name, "", 0, false); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all []act
	var askers sync.WaitGroup
	for i, name := range []string{"a", "b", "a", "b"} {
		askers.Go(func() {
			for n := uint64(1); n <= 3; n++ {
				a := act{request: Request{pair.Name, name, n, ID{0: byte(i), 1: byte(n), 2: 1}}, begun: 1, ended: 2}
				a.got, a.err = remotes[name].Ask(ctx, a.request)
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
			}
		})
	}
	askers.Wait()
	last, err := s.Look(ctx, pair.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range judge(Record{Group: pair.Name}, last, all) {
		t.Error(why)
	}
}

// TestAnswers gives answers that no arbiter would give: none of them is a win.
func TestAnswers(t *testing.T) {
	won := Record{"web", "a", 5, id(1), time.Time{}}
	edit := func(f func(r *Record)) *Record { r := won; f(&r); return &r }
	tests := []struct {
		name string
		got  any
		want string
	}{
		{"won", reply{Outcome: outcomeWon, Record: &won}, "won a 5"},
		{"won, without a record", reply{Outcome: outcomeWon}, "unknown"},
		{"another number won", reply{Outcome: outcomeWon, Record: edit(func(r *Record) { r.N = 4 })}, "unknown"},
		{"another request won", reply{Outcome: outcomeWon, Record: edit(func(r *Record) { r.ID = id(2) })}, "unknown"},
		{"another node won", reply{Outcome: outcomeWon, Record: edit(func(r *Record) { r.Holder = "b" })}, "unknown"},
		{"another group was won", reply{Outcome: outcomeWon, Record: edit(func(r *Record) { r.Group = "mail" })}, "unknown"},
		{"an outcome of a later version", reply{Outcome: "perhaps", Record: &won}, "unknown"},
		{"lost", reply{Outcome: outcomeLost, Record: edit(func(r *Record) { r.Holder = "b" })}, "lost to b 5"},
		{"lost to itself", reply{Outcome: outcomeLost, Record: &won}, "unknown"},
		{"lost to a smaller number", reply{Outcome: outcomeLost, Record: edit(func(r *Record) { r.N = 4 })}, "unknown"},
		{"lost to nobody", reply{Outcome: outcomeLost, Record: edit(func(r *Record) { r.Holder = "" })}, "unknown"},
		{"refused", reply{Outcome: outcomeRefused, Refusal: ErrBehind}, "refused: behind"},
		{"refused by a later version", reply{Outcome: outcomeRefused, Refusal: &RefusedError{Why: "moon", Text: "\x1b[2J"}}, "refused: elsewhere"},
		{"refused, without a reason", reply{Outcome: outcomeRefused}, "unknown"},
		{"no object", "won", "unknown"},
		{"nothing", nil, "unknown"},
	}
	var mu sync.Mutex
	var next any
	remotes := serve(t, func(context.Context, peer.Node, json.RawMessage) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		return next, nil
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mu.Lock()
			next = tt.got
			mu.Unlock()
			r, err := remotes["a"].Ask(t.Context(), Request{"web", "a", 5, id(1)})
			if got := outcome(r, err); got != tt.want {
				t.Errorf("%s (%v), want %s", got, err, tt.want)
			}
		})
	}
}

// TestTimeoutIsNoWin has an arbiter that decides and does not say so, one that has gone, and then one that is asked again.
func TestTimeoutIsNoWin(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), Dir), pair)
	if _, err := s.Create(t.Context(), pair.Name, "", 0, false); err != nil {
		t.Fatal(err)
	}
	decided, speak := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h := Handler(s, nil)
	remotes := serve(t, func(ctx context.Context, from peer.Node, in json.RawMessage) (any, error) {
		out, err := h(ctx, from, in)
		once.Do(func() { close(decided); <-speak })
		return out, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	var patience sync.WaitGroup
	patience.Go(func() { <-decided; cancel() }) // it ends when the arbiter has decided
	defer patience.Wait()
	r := Request{pair.Name, "a", 1, id(1)}
	if got, err := remotes["a"].Ask(ctx, r); outcome(got, err) != "unknown" || !errors.Is(err, context.Canceled) {
		t.Errorf("without an answer: %s: %v", outcome(got, err), err)
	}
	close(speak)
	if got, err := (patient{remotes["b"]}).Ask(t.Context(), Request{pair.Name, "b", 1, id(2)}); outcome(got, err) != "lost to a 1" {
		t.Errorf("the other one: %s: %v", outcome(got, err), err)
	}
	if got, err := (patient{remotes["a"]}).Ask(t.Context(), r); outcome(got, err) != "won a 1" {
		t.Errorf("asked again: %s: %v", outcome(got, err), err)
	}
	away := remotes["a"]
	away.Node.Addresses = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	if got, err := away.Ask(t.Context(), r); outcome(got, err) != "unknown" || !errors.As(err, new(*peer.UnreachableError)) {
		t.Errorf("nobody there: %s: %v", outcome(got, err), err)
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{`{"act":"ask","request":{"group":"web","want":"a","n":1,"id":"01000000000000000000000000000001"}}`, `{"act":"look","group":"web"}`, `{"act":"ask"}`, `null`} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := Open(context.Background(), dir, []Group{pair})
		if err != nil {
			t.Fatal(err)
		}
		out, err := Handler(s, nil)(context.Background(), peer.Node{Name: "c"}, in)
		if got, ok := out.(reply); err == nil && (!ok || got.Outcome != outcomeRefused) {
			t.Errorf("a stranger got %v", out)
		}
	})
}
