//go:build linux

package arbiter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// backend is an arbiter with the means to make its records.
type backend struct {
	as     func(member string) Asker
	create func(ctx context.Context, group, holder string, n uint64, force bool) (Record, error)
}

// id is an ID that a table can name.
func id(n byte) ID { return ID{0: n, 15: 1} }

// outcome writes what came of a request.
func outcome(r Record, err error) string {
	lost, isLost := errors.AsType[*LostError](err)
	no, isRefused := errors.AsType[*RefusedError](err)
	switch {
	case err == nil:
		return fmt.Sprintf("won %s %d", r.Holder, r.N)
	case isLost:
		return fmt.Sprintf("lost to %s %d", lost.Record.Holder, lost.Record.N)
	case isRefused:
		return "refused: " + string(no.Why)
	case errors.As(err, new(*UnknownError)):
		return "unknown"
	}
	return "not typed: " + err.Error()
}

// patient asks again where the answer is not known, as its caller would: on a busy machine a disk may take its time.
type patient struct{ Asker }

func (p patient) Ask(ctx context.Context, r Request) (got Record, err error) {
	again(func() error { got, err = p.Asker.Ask(ctx, r); return err })
	return got, err
}

func (p patient) Look(ctx context.Context, group string) (got Record, err error) {
	again(func() error { got, err = p.Asker.Look(ctx, group); return err })
	return got, err
}

// again tries while the answer is not known, for a minute.
func again(try func() error) {
	for end := time.Now().Add(time.Minute); errors.As(try(), new(*UnknownError)) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

// creates is create that asks again likewise.
func (b backend) creates(ctx context.Context, group, holder string, n uint64, force bool) (err error) {
	tries := 0
	again(func() error { tries++; _, err = b.create(ctx, group, holder, n, force); return err })
	if tries > 1 && errors.Is(err, ErrThere) { // it was the first try
		return nil
	}
	return err
}

func (b backend) patient(member string) Asker { return patient{b.as(member)} }

type step struct {
	from string
	n    uint64
	id   byte
	want string
}

// contract is what every arbiter does. The sources are the sections of the design of failover.
var contract = []struct {
	name  string // of the group, too
	holds string // at first
	n     uint64
	steps []step
}{
	{"first", "", 0, []step{{"a", 1, 1, "won a 1"}}},
	{"one-wins-a-number", "", 0, []step{{"a", 1, 1, "won a 1"}, {"b", 1, 2, "lost to a 1"}, {"a", 1, 1, "won a 1"}}},
	{"same-id-same-answer", "", 0, []step{{"a", 1, 1, "won a 1"}, {"a", 1, 1, "won a 1"}, {"a", 1, 1, "won a 1"}, {"b", 2, 2, "won b 2"}}},
	{"other-id-is-another-request", "", 0, []step{{"a", 1, 1, "won a 1"}, {"a", 1, 2, "lost to a 1"}}},
	{"same-id-of-somebody-else", "", 0, []step{{"a", 1, 1, "won a 1"}, {"b", 1, 1, "lost to a 1"}}},
	{"late-repetition-after-the-next", "", 0, []step{{"a", 1, 1, "won a 1"}, {"b", 2, 2, "won b 2"}, {"a", 1, 1, "lost to b 2"}}},
	{"who-was-not-there-loses", "a", 5, []step{{"b", 5, 1, "lost to a 5"}, {"b", 3, 2, "lost to a 5"}, {"b", 6, 3, "won b 6"}}},
	{"an-old-copy-decides-nothing", "a", 5, []step{{"b", 8, 1, "refused: behind"}, {"b", 7, 1, "refused: behind"}, {"b", 6, 1, "won b 6"}}},
	{"a-stranger", "", 0, []step{{"c", 1, 1, "refused: no-member"}, {"a", 1, 1, "won a 1"}}},
	{"number-0-is-nobodys", "", 0, []step{{"a", 0, 1, "refused: bad-request"}}},
	{"too-large-a-number", "", 0, []step{{"a", maxN + 1, 1, "refused: bad-request"}}},
	{"without-an-id", "", 0, []step{{"a", 1, 0, "refused: bad-request"}}},
}

// groups are those of the contract, and one more that has no record.
func groups() (all []Group) {
	for _, tt := range contract {
		all = append(all, Group{tt.name, pair.Members})
	}
	return append(all, pair, Group{"missing", pair.Members}, Group{"made", pair.Members})
}

func testContract(t *testing.T, b backend) {
	ctx := t.Context()
	for _, tt := range contract {
		t.Run(tt.name, func(t *testing.T) {
			if err := b.creates(ctx, tt.name, tt.holds, tt.n, false); err != nil {
				t.Fatal(err)
			}
			last := Record{Group: tt.name, Holder: tt.holds, N: tt.n}
			for i, s := range tt.steps {
				r := Request{Group: tt.name, Want: s.from, N: s.n}
				if s.id != 0 {
					r.ID = id(s.id)
				}
				got, err := b.patient(s.from).Ask(ctx, r)
				if outcome(got, err) != s.want {
					t.Errorf("request %d: %s (%v), want %s", i+1, outcome(got, err), err, s.want)
				}
				if err == nil {
					last = Record{tt.name, s.from, s.n, r.ID, time.Time{}}
				}
				if kept, err := b.patient("b").Look(ctx, tt.name); err != nil || !kept.Same(last) {
					t.Errorf("request %d: the record is %v (%v), want %v", i+1, kept, err, last)
				}
			}
		})
	}
	t.Run("for somebody else", func(t *testing.T) {
		r, err := b.patient("b").Ask(ctx, Request{"first", "a", 2, id(7)})
		if got := outcome(r, err); got != "refused: no-member" {
			t.Errorf("%s: %v", got, err)
		}
	})
	t.Run("no such group", func(t *testing.T) {
		r, err := b.patient("a").Ask(ctx, Request{"nowhere", "a", 1, id(1)})
		if got := outcome(r, err); got != "refused: no-group" {
			t.Errorf("%s: %v", got, err)
		}
	})
	t.Run("a missing record is not an empty one", func(t *testing.T) {
		r, err := b.patient("a").Ask(ctx, Request{"missing", "a", 1, id(1)})
		if got := outcome(r, err); got != "refused: missing" {
			t.Errorf("%s: %v", got, err)
		}
		no, ok := errors.AsType[*RefusedError](err)
		if want := "kvmha arbiter create missing; if one of them ever went on alone: kvmha arbiter create missing --holder <node> --n <n>"; !ok || no.Hint() != want {
			t.Errorf("the hint is %v, want %q", no, want)
		}
		if r, err := b.patient("a").Look(ctx, "missing"); !errors.Is(err, ErrMissing) {
			t.Errorf("look: %v, %v", r, err)
		}
	})
	t.Run("create", func(t *testing.T) {
		for i, tt := range []struct {
			holder string
			n      uint64
			force  bool
			want   error
		}{
			{"c", 1, false, ErrNoMember}, {"", 1, false, ErrBadRequest}, {"a", 0, false, ErrBadRequest},
			{"a", 3, false, nil}, {"a", 3, false, ErrThere}, {"", 0, true, ErrThere}, {"b", 3, true, ErrThere}, {"b", 4, true, nil},
		} {
			if err := b.creates(ctx, "made", tt.holder, tt.n, tt.force); !errors.Is(err, tt.want) {
				t.Errorf("%d: %v, want %v", i+1, err, tt.want)
			}
		}
		if r, err := b.patient("a").Look(ctx, "made"); err != nil || r.Holder != "b" || r.N != 4 {
			t.Errorf("the record is %v (%v)", r, err)
		}
	})
	t.Run("one wins", func(t *testing.T) {
		if err := b.creates(ctx, pair.Name, "", 0, false); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(t *rapid.T) { race(t, b) })
	})
}

// act is one request of a history: begun and ended are moments of one clock.
type act struct {
	request      Request
	begun, ended int64
	got          Record
	err          error
}

// race has several askers ask at the same time, and looks for an order in which one record alone could have answered so.
func race(t *rapid.T, b backend) {
	ctx := context.Background()
	first, err := b.patient("a").Look(ctx, pair.Name)
	if err != nil {
		t.Fatal(err)
	}
	plans := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 3), 1, 3), 2, 4).Draw(t, "what each asker adds to the number that it knows; 3: asks twice")
	var (
		mu    sync.Mutex
		all   []act
		clock atomic.Int64
		done  sync.WaitGroup
	)
	for i, plan := range plans {
		asker, name := b.as(pair.Members[i%2]), pair.Members[i%2]
		done.Go(func() {
			knows := first
			for _, more := range plan {
				r := Request{pair.Name, name, max(1, knows.N+uint64(more%3)), NewID()}
				for range 1 + more/3*2 {
					a := act{request: r, begun: clock.Add(1)}
					a.got, a.err = asker.Ask(ctx, r)
					a.ended = clock.Add(1)
					mu.Lock()
					all = append(all, a)
					mu.Unlock()
					if lost, ok := errors.AsType[*LostError](a.err); ok {
						knows = lost.Record
					} else if a.err == nil {
						knows = a.got
					}
				}
			}
		})
	}
	done.Wait()
	last, err := b.patient("b").Look(ctx, pair.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range judge(first, last, all) {
		t.Error(why)
	}
}

// judge says what no single record could have answered. A request whose answer is not known may have won.
func judge(first, last Record, all []act) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	won, perhaps := map[uint64]Record{first.N: first}, map[uint64]bool{}
	for _, a := range all {
		if errors.As(a.err, new(*UnknownError)) {
			perhaps[a.request.N] = true
		}
		if a.err != nil {
			continue
		}
		if !a.request.answers(a.got) {
			say("%v won %v", a.request, a.got)
		}
		if other, taken := won[a.got.N]; taken && !other.Same(a.got) {
			say("number %d was won by %s (%s) and by %s (%s)", a.got.N, other.Holder, other.ID, a.got.Holder, a.got.ID)
		}
		won[a.got.N] = a.got
	}
	was := func(r Record) bool { return won[r.N].Same(r) || won[r.N].Group == "" && perhaps[r.N] }
	for n := first.N; n <= last.N; n++ {
		if _, ok := won[n]; !ok && !perhaps[n] {
			say("nobody won number %d, and the record is at %d", n, last.N)
		}
	}
	for n := range won {
		if n > last.N {
			say("number %d was won, and the record is %v", n, last)
		}
	}
	if !was(last) {
		say("the record is %v, which nobody won", last)
	}
	for _, a := range all {
		lost, isLost := errors.AsType[*LostError](a.err)
		switch {
		case isLost && lost.Record.N < a.request.N:
			say("%v lost to %v", a.request, lost.Record)
		case isLost && !was(lost.Record):
			say("%v lost to %v, which never was", a.request, lost.Record)
		}
		for _, before := range all {
			if before.err != nil || before.ended >= a.begun {
				continue
			}
			if a.err == nil && a.got.N < before.got.N {
				say("number %d was won after number %d", a.got.N, before.got.N)
			}
			if isLost && lost.Record.N < before.got.N {
				say("an answer told of number %d after number %d was won", lost.Record.N, before.got.N)
			}
		}
	}
	return wrong
}
