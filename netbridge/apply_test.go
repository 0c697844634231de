package netbridge_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvmctl/internal/units"
	"kvmctl/netbridge"
	"kvmctl/netbridge/netbridgetest"
)

var errFault = errors.New("fault of the test")

// countdown is a context that ends at the n-th look at it.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// busy is a model with what Apply can meet: a bridge of ours that is not as wanted, one half made, one to remove.
func busy(t *testing.T) *netbridgetest.Fake {
	t.Helper()
	f := netbridgetest.NewFake()
	for _, l := range []netbridge.Link{
		{Name: "old", Alias: "kvmctl:bridge:old", Kind: "bridge", MAC: mac1, MTU: 1400,
			// The same address with another length may not be there twice: the way back has to be walked in reverse.
			Addresses: []netip.Prefix{netip.MustParsePrefix("fd02::1/48")}},
		{Name: "half", Kind: "bridge", MAC: mac1, MTU: 65535},
		{Name: "gone", Alias: "kvmctl:bridge:gone", Kind: "bridge", MAC: mac1, MTU: 9000, Up: true,
			Addresses: []netip.Prefix{addr0, addr6}},
		{Name: "lan", Kind: "bridge", MAC: mac1},
	} {
		if err := f.Plant(l); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// everyStep is a plan that holds each kind of step.
func everyStep(t *testing.T, f *netbridgetest.Fake) []netbridge.Step {
	t.Helper()
	have := state(t, f)
	steps, err := netbridge.Plan(have, []netbridge.Bridge{
		{Name: "old", MAC: mac0, MTU: 1500, Address: addr6},
		{Name: "half", MAC: mac1, MTU: 1500, Address: addr6},
		{Name: "new", MAC: mac0, MTU: 1500, Address: addr0},
		{Name: "lan", MAC: mac0, MTU: 1500},
	})
	if err != nil {
		t.Fatal(err)
	}
	down, err := netbridge.PlanDown(have, []string{"gone"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Removal first, so that its way back is walked by every fault that follows.
	return append(down, steps...)
}

func state(t *testing.T, f *netbridgetest.Fake) []netbridge.Link {
	t.Helper()
	links, err := f.Links(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return links
}

// byName is a state without the indices and the order, which a bridge that was made again does not get back.
func byName(links []netbridge.Link) map[string]netbridge.Link {
	out := map[string]netbridge.Link{}
	for _, l := range links {
		l.Index = 0
		out[l.Name] = l
	}
	return out
}

func sameState(t *testing.T, want, got []netbridge.Link) {
	t.Helper()
	prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(byName(want), byName(got), prefixes, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("state before (-) and after (+): %s", diff)
	}
}

func TestApplyThatFailsAtAnyStepLeavesTheStateAsItWas(t *testing.T) {
	t.Parallel()
	f := busy(t)
	steps := everyStep(t, f)
	kinds := map[string]bool{}
	for _, s := range steps {
		kinds[strings.TrimPrefix(fmt.Sprintf("%T", s), "netbridge.")] = true
	}
	for _, kind := range []string{"CreateBridge", "SetAlias", "SetMAC", "SetMTU", "RemoveAddress", "AddAddress", "SetUp", "DeleteBridge"} {
		if !kinds[kind] {
			t.Errorf("no step is a %s", kind)
		}
	}
	if err := netbridge.Apply(t.Context(), f, steps); err != nil {
		t.Fatal(err)
	}
	faults := 0
	for method, calls := range f.Calls() {
		if method == "Links" {
			continue // Apply looks at nothing
		}
		for n := 1; n <= calls; n++ {
			faults++
			t.Run(fmt.Sprint(method, " fails at call ", n), func(t *testing.T) {
				f := busy(t)
				before := state(t, f)
				f.FailAt(method, n, errFault)
				err := netbridge.Apply(t.Context(), f, everyStep(t, f))
				if !errors.Is(err, errFault) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want the fault and nothing about the way back", err)
				}
				sameState(t, before, state(t, f))
			})
		}
	}
	if faults != len(steps) {
		t.Errorf("%d faults for %d steps: some step was not made to fail", faults, len(steps))
	}
}

func TestApplyThatIsCancelledLeavesTheStateAsItWas(t *testing.T) {
	t.Parallel()
	n := 0
	for ; ; n++ {
		f := busy(t)
		before := state(t, f)
		// Apply looks at the context once before a step, and the model once in it.
		err := netbridge.Apply(&countdown{context.Background(), n}, f, everyStep(t, f))
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("after %d looks: error %v", n, err)
		}
		sameState(t, before, state(t, f))
	}
	if want := 2 * len(everyStep(t, busy(t))); n != want {
		t.Errorf("the context was looked at %d times, want %d", n, want)
	}
}

func TestAPlanThatSomeoneElseCarriedOutMeanwhileIsDoneAndNotUndone(t *testing.T) {
	t.Parallel()
	f := busy(t)
	var steps []netbridge.Step
	for _, s := range everyStep(t, f) {
		if !strings.HasSuffix(s.String(), " new") && !strings.Contains(s.String(), " new ") { // a bridge is made by one only
			steps = append(steps, s)
		}
	}
	if !strings.Contains(lines(steps), "remove address") || !strings.Contains(lines(steps), "delete bridge") {
		t.Fatalf("the plan is too small: %s", lines(steps))
	}
	if err := netbridge.Apply(t.Context(), f, steps); err != nil {
		t.Fatal(err)
	}
	done := state(t, f)
	if err := netbridge.Apply(t.Context(), f, steps); err != nil {
		t.Error(err)
	}
	sameState(t, done, state(t, f))
	// What the other did to addresses and by deletion is not this one's to take back when it fails at the end.
	f.FailAt("CreateBridge", 1, errFault)
	only := append(steps[:1:1], netbridge.RemoveAddress{Name: "old", Address: netip.MustParsePrefix("fd02::1/48")},
		netbridge.AddAddress{Name: "old", Address: addr6}, netbridge.CreateBridge{Name: "new", MAC: mac0})
	if err := netbridge.Apply(t.Context(), f, only); !errors.Is(err, errFault) {
		t.Errorf("error %v, want the fault", err)
	}
	sameState(t, done, state(t, f))
}

// interrupted is a kernel on which the caller's context ends when a bridge is to go up.
type interrupted struct {
	*netbridgetest.Fake
	stop context.CancelFunc
}

func (k interrupted) SetUp(ctx context.Context, name string, up bool) error {
	k.stop()
	return k.Fake.SetUp(ctx, name, up)
}

func TestTheWayBackIsWalkedAlthoughTheContextHasEnded(t *testing.T) {
	t.Parallel()
	f := busy(t)
	before := state(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := netbridge.Apply(ctx, interrupted{f, cancel}, everyStep(t, f))
	if want := `bring old up: SetUp of "old": context canceled`; err == nil || err.Error() != want || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %s", err, want)
	}
	sameState(t, before, state(t, f))
}

func TestApplyReportsWhatCouldNotBeUndone(t *testing.T) {
	t.Parallel()
	f := netbridgetest.NewFake()
	if err := f.Plant(netbridge.Link{Name: "br0", Alias: "kvmctl:bridge:br0", Kind: "bridge", MAC: mac1, MTU: 1400}); err != nil {
		t.Fatal(err)
	}
	f.FailAt("AddAddress", 1, errFault)
	f.FailAt("SetMTU", 2, syscall.EPERM) // the second is the way back
	steps, err := netbridge.Plan(state(t, f), []netbridge.Bridge{br0})
	if err != nil {
		t.Fatal(err)
	}
	err = netbridge.Apply(t.Context(), f, steps)
	want := `add address 10.2.0.1/16 to br0: AddAddress of "br0": fault of the test
undo "set mtu 1500 on br0": SetMTU of "br0": operation not permitted`
	if err == nil || err.Error() != want || !errors.Is(err, errFault) || !errors.Is(err, syscall.EPERM) {
		t.Errorf("error %v, want %s", err, want)
	}
	if got := state(t, f)[1]; got.MAC != mac1 || got.MTU != 1500 { // the rest of the way was walked
		t.Errorf("left: %+v, want the old MAC and the new MTU", got)
	}
}

// joining lets a guest of another kvmctl join a bridge as soon as it is made.
type joining struct{ *netbridgetest.Fake }

func (j joining) CreateBridge(ctx context.Context, name string, mac units.MAC) error {
	if err := j.Fake.CreateBridge(ctx, name, mac); err != nil {
		return err
	}
	return j.Plant(netbridge.Link{Name: "kv9.0", Kind: "tun", Master: name, Alias: "kvmctl:vm-z:0", MTU: 1500})
}

func TestABridgeThatSomeoneJoinedIsNotTakenBack(t *testing.T) {
	t.Parallel()
	f := netbridgetest.NewFake()
	f.FailAt("SetUp", 1, errFault)
	_, err := netbridge.Ensure(t.Context(), joining{f}, []netbridge.Bridge{br0})
	want := `bring br0 up: SetUp of "br0": fault of the test
undo "create bridge br0": delete bridge "br0": device or resource busy`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if br := state(t, f)[1]; !br.Ours() || br.MTU != 1500 || len(br.Addresses) != 1 {
		t.Errorf("the bridge is %+v, want all but up", br)
	}
}

func TestEnsureLooksAtTheWantedBridgesOnly(t *testing.T) {
	t.Parallel()
	f := netbridgetest.NewFake()
	for _, want := range []string{"Links [br0] Links [br0] CreateBridge br0 SetAlias br0 SetMTU br0 AddAddress br0 SetUp br0", "Links [br0]"} {
		before := len(f.Trace())
		if _, err := netbridge.Ensure(t.Context(), f, []netbridge.Bridge{br0}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.Trace()[before:], " "); got != want {
			t.Errorf("calls %q, want %q", got, want)
		}
	}
	if steps, err := netbridge.Ensure(t.Context(), f, nil); err != nil || steps != nil {
		t.Errorf("steps %v, error %v, want neither", steps, err)
	}
}

// racing is a kernel on which someone else makes the bridge between the look and the creation.
type racing struct {
	*netbridgetest.Fake
	theirs netbridge.Link
}

func (r racing) CreateBridge(ctx context.Context, name string, mac units.MAC) error {
	if err := r.Plant(r.theirs); err != nil && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	return r.Fake.CreateBridge(ctx, name, mac)
}

func TestEnsureMeetsSomeoneElse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		theirs netbridge.Link
		steps  string
		err    string
	}{
		{"another kvmctl that is ready", ours0, "", ""},
		{"another kvmctl that is half way", netbridge.Link{Name: "br0", Kind: "bridge", MAC: mac0, MTU: 65535},
			"set alias \"kvmctl:bridge:br0\" on br0\nset mtu 1500 on br0\nadd address 10.2.0.1/16 to br0\nbring br0 up\n", ""},
		{"the admin with a bridge", netbridge.Link{Name: "br0", Kind: "bridge", MAC: mac1}, "", ""},
		{"the admin with something else", netbridge.Link{Name: "br0", Kind: "veth"}, "", `interface "br0" is of kind "veth", not a bridge`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k := racing{netbridgetest.NewFake(), tt.theirs}
			steps, err := netbridge.Ensure(t.Context(), k, []netbridge.Bridge{br0})
			if got := fmt.Sprint(err); err != nil && got != tt.err || err == nil && tt.err != "" {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if got := lines(steps); got != tt.steps {
				t.Errorf("steps %q, want %q", got, tt.steps)
			}
		})
	}
}

func TestEnsureGivesUpOnANameThatNeverSettles(t *testing.T) {
	t.Parallel()
	f := netbridgetest.NewFake()
	k := flickering{f}
	if _, err := netbridge.Ensure(t.Context(), k, []netbridge.Bridge{br0}); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("error %v, want EEXIST", err)
	}
	sameState(t, state(t, netbridgetest.NewFake()), state(t, f))
}

// flickering is a kernel on which the name is taken whenever a bridge is made, and free whenever one looks.
type flickering struct{ *netbridgetest.Fake }

func (flickering) CreateBridge(context.Context, string, units.MAC) error { return syscall.EEXIST }
