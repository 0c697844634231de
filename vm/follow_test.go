package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

func at(sec int) time.Time { return time.Unix(1_700_000_000+int64(sec), 0).UTC() }

func TestALogIsInTheOrderOfTime(t *testing.T) {
	l := library(t)
	fact := func(sec int, what string) Fact { return Fact{Time: at(sec), Kind: KindNote, Reason: what} }
	write(t, l, units.MiB, fact(1, "a"), fact(5, "stop"), fact(3, "event, harvested late"), fact(5, "end"))
	var got []string
	for _, f := range history(t, l) {
		got = append(got, f.Reason)
	}
	if d := cmp.Diff([]string{"a", "event, harvested late", "stop", "end"}, got); d != "" {
		t.Error(d)
	}
}

func TestTheNewestOfAGuest(t *testing.T) {
	var all []Fact
	for i := range 5 {
		all = append(all, Fact{Time: at(i), Reason: fmt.Sprint(i)})
	}
	until := at(9)
	all[0].Until = &until // it went on
	for _, tt := range []struct {
		since time.Time
		most  int
		want  string
		left  int
	}{
		{time.Time{}, 0, "[0 1 2 3 4]", 0},
		{time.Time{}, 2, "[3 4]", 3},
		{at(3), 0, "[0 3 4]", 0},
		{at(3), 1, "[4]", 2},
		{at(10), 3, "[]", 0},
	} {
		kept, left := Newest(all, tt.since, tt.most)
		got := []string{}
		for _, f := range kept {
			got = append(got, f.Reason)
		}
		if fmt.Sprint(got) != tt.want || left != tt.left {
			t.Errorf("since %v most %d: %v, %d left; want %s, %d", tt.since, tt.most, got, left, tt.want, tt.left)
		}
	}
}

func TestAFloodIsThinnedAndHidesNoEnd(t *testing.T) {
	var all []Fact
	for i := range 10 {
		all = append(all, Fact{Time: at(i), Kind: KindEvent, Event: fmt.Sprint(i), Count: i % 2 * 3})
	}
	all = append(all, Fact{Time: at(10), Kind: KindEnd})
	got := thin(all, 2)
	want := append(all[:2:2], Fact{Time: at(9), Kind: KindSkipped, Count: 4*3 + 4}, all[10])
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(all[10:], thin(all[10:], 0)); d != "" {
		t.Error(d)
	}
}

func TestATailLosesNothingOverRotations(t *testing.T) {
	l := library(t)
	const limit = 4 << 10 // some 30 notes a half
	tail := &historyTail{l: l, name: "g"}
	defer tail.close()
	wrote, read := 0, 0
	for round := range 40 {
		for range 1 + round%20 {
			write(t, l, limit, note(wrote))
			wrote++
		}
		facts, err := tail.next()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range facts {
			if f.Reason != fmt.Sprint(read) {
				t.Fatalf("read %s, want %d", f.Reason, read)
			}
			read++
		}
	}
	if read != wrote {
		t.Errorf("read %d of %d", read, wrote)
	}
	f, err := os.OpenFile(l.History("g"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, part := range []string{`{"v":1,"kind":"no`, `te","reason":"whole"}` + "\n"} {
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
		facts, err := tail.next()
		if err != nil {
			t.Fatal(err)
		}
		if whole := part[0] == 't'; whole != (len(facts) == 1) {
			t.Errorf("%q: %+v", part, facts)
		}
	}
}

// following runs Follow and hands on what it tells.
func following(t *testing.T, h *Host, names ...string) func(what string) GuestFact {
	t.Helper()
	news := make(chan GuestFact, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- h.Follow(ctx, names, func(_ string, facts []Fact) []Fact { return facts }, func(all []GuestFact) error {
			for _, f := range all {
				news <- f
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(what string) GuestFact {
		t.Helper()
		select {
		case f := <-news:
			return f
		case <-time.After(30 * time.Second):
			t.Fatalf("in vain: %s", what)
		}
		return GuestFact{}
	}
}

func TestFollowingShowsWhatIsHarvestedAndWhoIsNew(t *testing.T) {
	r := record(t)
	r.UIDBase = 70000
	r.says("RESUME")
	next := following(t, r.Host, []string(nil)...)
	if f := next("what was there"); f.VM != "g" || f.Event != "RESUME" {
		t.Fatalf("%+v", f)
	}
	// Its run directory is that of a guest which is gone: the first look has noted its end.
	if f := next("its end"); f.Kind != KindEnd || f.State != StateCrashed {
		t.Fatalf("%+v", f)
	}
	if err := MakeDirs(r.GuestLibDir("later"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := r.appendFacts("later", units.MiB, false, Fact{Time: at(0), Kind: KindNote, Reason: "new"}); err != nil {
		t.Fatal(err)
	}
	if f := next("a new guest"); f.VM != "later" || f.Reason != "new" {
		t.Errorf("%+v", f)
	}
}

// FuzzInotify: whatever the kernel could write is taken apart within its bounds.
func FuzzInotify(f *testing.F) {
	one := make([]byte, unix.SizeofInotifyEvent, unix.SizeofInotifyEvent+16)
	binary.NativeEndian.PutUint32(one, 7)
	binary.NativeEndian.PutUint32(one[12:], 16)
	f.Add(append(one, "history.jsonl\x00\x00\x00"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := 0
		for _, e := range parseInotify(b) {
			sum += unix.SizeofInotifyEvent + len(e.name)
		}
		if sum > len(b) {
			t.Fatalf("%d of %d bytes", sum, len(b))
		}
	})
}

// FuzzReadFacts: the bytes that count as read end with a line, and what is read in two parts is what is read at once.
func FuzzReadFactsInParts(f *testing.F) {
	f.Add([]byte(`{"v":1,"time":"2026-01-31T12:00:00Z","kind":"note","reason":"a"}`+"\n"+`{"v":1,"kind":"x"}`+"\n{"), 40)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		whole, n, err := readFacts(bytes.NewReader(b))
		if err != nil || n > int64(len(b)) || n > 0 && b[n-1] != '\n' {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		cut = max(0, min(cut, len(b)))
		first, n1, err1 := readFacts(bytes.NewReader(b[:cut]))
		rest, n2, err2 := readFacts(bytes.NewReader(b[n1:]))
		if err1 != nil || err2 != nil || n1+n2 != n || len(first)+len(rest) != len(whole) {
			t.Fatalf("%d + %d facts in %d + %d bytes, at once %d in %d", len(first), len(rest), n1, n2, len(whole), n)
		}
	})
}
