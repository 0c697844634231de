package fence

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/internal/runner"
	"kvmctl/internal/runner/runnertest"
)

var ask = Request{ID: arbiter.ID{0xab, 15: 1}, Group: "samba", Node: "vm-varda", Within: 5 * time.Second}

const askID = "ab000000000000000000000000000001"

// notCertain fails unless an answer licenses nothing, for that reason.
func notCertain(t *testing.T, r Receipt, err, want error) {
	t.Helper()
	if r != (Receipt{}) || !errors.Is(err, ErrNotCertain) || !errors.Is(err, want) {
		t.Errorf("%+v, %v; want %v", r, err, want)
	}
	var sure *NotCertainError
	if !errors.As(err, &sure) || sure.Node != ask.Node {
		t.Errorf("%#v", err)
	}
}

type fencerFunc func(context.Context, Request) (Receipt, error)

func (f fencerFunc) Fence(ctx context.Context, r Request) (Receipt, error) { return f(ctx, r) }

func TestAsk(t *testing.T) {
	good := fencerFunc(func(_ context.Context, r Request) (Receipt, error) { return receipt(r, "off"), nil })
	hangs := fencerFunc(func(ctx context.Context, r Request) (Receipt, error) {
		<-ctx.Done()
		return Receipt{}, context.Cause(ctx)
	})
	late := fencerFunc(func(ctx context.Context, r Request) (Receipt, error) { <-ctx.Done(); return receipt(r, "off"), nil })
	another := fencerFunc(func(_ context.Context, r Request) (Receipt, error) { r.ID[0]++; return receipt(r, "off"), nil })
	broken := errors.New("broken")
	fails := fencerFunc(func(_ context.Context, r Request) (Receipt, error) { return receipt(r, "off"), broken })
	for _, tc := range []struct {
		name   string
		fencer Fencer
		change func(*Request)
		want   error
	}{
		{"it answers", good, nil, nil},
		{"it hangs", hangs, nil, context.DeadlineExceeded},
		{"it answers when nobody waits any more", late, nil, context.DeadlineExceeded},
		{"it answers another request", another, nil, ErrAnotherAnswer},
		{"it fails beside a receipt", fails, nil, broken},
		{"a request without an id", good, func(r *Request) { r.ID = arbiter.ID{} }, ErrNoRequest},
		{"a request without time", good, func(r *Request) { r.Within = 0 }, ErrNoRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := ask
				if tc.change != nil {
					tc.change(&r)
				}
				got, err := Ask(t.Context(), tc.fencer, r)
				if tc.want != nil {
					notCertain(t, got, err, tc.want)
				} else if err != nil || got.ID != ask.ID || got.At.IsZero() {
					t.Errorf("%+v, %v", got, err)
				}
			})
		})
	}
}

func TestHost(t *testing.T) {
	const good = `{"request":"` + askID + `","vm":"vm-varda2","state":"killed","held":true,"for":"varda2","took_ms":9.4}` + "\n"
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, tc := range []struct {
		name  string
		reply runnertest.Reply
		want  error
	}{
		{"killed", runnertest.Reply{Stdout: good}, nil},
		{"was stopped", runnertest.Reply{Stdout: with("killed", "was-stopped")}, nil},
		{"a later kvmctl says more", runnertest.Reply{Stdout: with(`"vm"`, `"more":[1],"vm"`)}, nil},
		{"refused", runnertest.Reply{Stdout: good, Stderr: "kvmctl: error: cannot fence vm-varda2: stuck\n", Exit: 1}, ErrNotCertain},
		{"no kvmctl", runnertest.Reply{Err: context.Canceled}, context.Canceled},
		{"not held", runnertest.Reply{Stdout: with("true", "false")}, ErrNotHeld},
		{"held is not said", runnertest.Reply{Stdout: with(`"held":true,`, "")}, ErrNotHeld},
		{"another request", runnertest.Reply{Stdout: with("ab00", "ac00")}, ErrAnotherAnswer},
		{"another guest", runnertest.Reply{Stdout: with("vm-varda2", "vm-olorin")}, ErrAnotherAnswer},
		{"for another node", runnertest.Reply{Stdout: with(`"for":"varda2"`, `"for":"olorin2"`)}, ErrAnotherAnswer},
		{"another state", runnertest.Reply{Stdout: with("killed", "paused")}, ErrBadReceipt},
		{"nothing", runnertest.Reply{}, ErrBadReceipt},
		{"garbage", runnertest.Reply{Stdout: "\x00\xff killed held"}, ErrBadReceipt},
		{"two answers", runnertest.Reply{Stdout: good + good}, ErrBadReceipt},
		{"a long one", runnertest.Reply{Stdout: good + strings.Repeat(" ", maxReceipt)}, ErrBadReceipt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.reply.Argv = strings.Fields("kvmctl fence vm-varda2 --for varda2 --request " + askID + " --within 4.8s --json")
			h := &Host{Program: "kvmctl", VM: "vm-varda2", For: "varda2", Run: runnertest.New(t, tc.reply)}
			got, err := Ask(t.Context(), h, ask)
			if tc.want != nil {
				notCertain(t, got, err, tc.want)
			} else if err != nil || got.ID != ask.ID || !strings.HasPrefix(got.How, "its host holds it: ") {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func FuzzParseReceipt(f *testing.F) {
	f.Add([]byte(`{"request":"` + askID + `","vm":"v","state":"killed","held":true}`))
	f.Add([]byte(`{"request":"x","vm":"v","state":"was-stopped"}{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseReceipt(text)
		if (err != nil) != (r == hostReceipt{}) || err == nil && r.State != killed && r.State != wasStopped {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}

func TestManual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Manual
		if err := m.Confirm("vm-varda", "jc"); !errors.Is(err, ErrNobodyAsked) {
			t.Errorf("a word beforehand: %v", err)
		}
		type answer struct {
			r   Receipt
			err error
		}
		first, second, other := make(chan answer, 1), make(chan answer, 1), make(chan answer, 1)
		start := func(to chan answer, group, node string, id byte) {
			r := Request{ID: arbiter.ID{id}, Group: group, Node: node, Within: time.Hour}
			go func() { got, err := Ask(t.Context(), &m, r); to <- answer{got, err} }()
			synctest.Wait()
			time.Sleep(time.Minute) // of the bubble's clock
		}
		start(first, "samba", "vm-varda", 1)
		start(other, "dns", "vm-olorin", 2)
		start(second, "ldap", "vm-varda", 3)
		if w := m.Waiting(); len(w) != 3 || w[0].Request.Group != "samba" || w[2].Request.Group != "ldap" || w[2].Since.Sub(w[0].Since) != 2*time.Minute {
			t.Errorf("waiting: %+v", w)
		}
		if err := m.Confirm("vm-varda", " \n"); !errors.Is(err, ErrNobody) {
			t.Errorf("nobody's word: %v", err)
		}
		if err := m.Confirm("vm-gandalf", "jc"); !errors.Is(err, ErrNobodyAsked) {
			t.Errorf("a word about somebody else: %v", err)
		}
		if err := m.Confirm("vm-varda", "jc\n"); err != nil {
			t.Fatal(err)
		}
		for id, c := range map[byte]chan answer{1: first, 3: second} {
			if a := <-c; a.err != nil || a.r.ID != (arbiter.ID{id}) || a.r.How != "jc says that it is off" {
				t.Errorf("%d: %+v", id, a)
			}
		}
		if w := m.Waiting(); len(w) != 1 || w[0].Request.Node != "vm-olorin" {
			t.Errorf("waiting: %+v", w)
		}
		a := <-other // after an hour
		if !errors.Is(a.err, ErrNotCertain) || !errors.Is(a.err, context.DeadlineExceeded) || len(m.Waiting()) != 0 {
			t.Errorf("nobody's word: %+v, %v", a, m.Waiting())
		}
		if err := m.Confirm("vm-olorin", "jc"); !errors.Is(err, ErrNobodyAsked) {
			t.Errorf("a word too late: %v", err)
		}
	})
}

func TestNewAgent(t *testing.T) {
	for _, p := range []string{"", "plug", "=1", "action=on", "password=x", "passwd=x", "option=on", "plug=1\naction=on", "plug=1\x00", "pl ug=1", "plug=" + strings.Repeat("1", maxParameter)} {
		if a, err := NewAgent("/usr/sbin/fence_apc", []string{"ip=10.0.0.1", p}, "", runner.Exec{}); a != nil || !errors.Is(err, ErrParameter) {
			t.Errorf("%.40q: %v", p, err)
		}
	}
	if _, err := NewAgent("/usr/sbin/fence_apc", nil, "a\nb", runner.Exec{}); !errors.Is(err, ErrParameter) || strings.Contains(err.Error(), "a\nb") {
		t.Errorf("a password of two lines: %v", err)
	}
	if _, err := NewAgent("fence_apc", nil, "", runner.Exec{}); !errors.Is(err, ErrNoProgram) {
		t.Errorf("no path: %v", err)
	}
}
