package link_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
	"kvmctl/internal/testenv"
)

// as starts this program on a node as a holder of addresses, or as the tick.
func as(t *testing.T, n *hatest.Node, role string, args ...string) *hatest.Process {
	t.Helper()
	c := n.Command(t.Context(), append([]string{"/proc/self/exe"}, args...)...)
	c.Env = append(os.Environ(), tickEnv+"="+role)
	p, err := n.StartCmd(role, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A holder that hangs loses its address by itself, and one that goes on does not take it back: cases 1 and 2 of facts section 3.
func TestAHolderThatIsKilledOrHangsLosesItsAddresses(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGSTOP} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			t.Parallel()
			a := hatest.Start(t, "a").Node("a")
			v4, v6 := hatest.Shared(0)
			p := as(t, a, "holder", v4.String(), v6.String())
			eventually(t, "it holds", func() bool { return strings.Contains(p.Output(), "holds") })
			event := time.Now()
			if err := p.Signal(sig); err != nil {
				t.Fatal(err)
			}
			eventually(t, "both are gone", func() bool { return !holds(t, a, v4) && !holds(t, a, v6) })
			if took := time.Since(event); took > 1400*time.Millisecond {
				t.Errorf("gone after %v, want 1.3 s at most", took)
			}
			if sig != unix.SIGSTOP {
				return
			}
			if err := p.Signal(unix.SIGCONT); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it says so", func() bool { return strings.Count(p.Output(), "its lifetime ended") == 2 })
			if holds(t, a, v4) || holds(t, a, v6) {
				t.Error("it took them back")
			}
		})
	}
}

// The measurement of lease.md: a holder dies, and 0.95 s after its last refresh something adds another address. Without the tick the kernel
// forgets to look for a second.
func TestTheTickKeepsADisturbedLeaseShort(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	for run := range 5 {
		t.Run(string(rune('1'+run)), func(t *testing.T) {
			t.Parallel()
			a := hatest.Start(t, "a").Node("a")
			as(t, a, "tick")
			eventually(t, "the tick runs", func() bool {
				return on(t, a, func() (bool, error) { return link.Ticking(t.Context()) })
			})
			if took := disturbed(t, a); took > 1250*time.Millisecond { // measured 1.00 to 1.10 s; the standby waits 1.3 s
				t.Errorf("gone %v after the last refresh", took)
			} else {
				t.Logf("gone %v after the last refresh", took)
			}
		})
	}
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		a := hatest.Start(t, "a").Node("a")
		took := disturbed(t, a)
		t.Logf("gone %v after the last refresh", took)
		if took < 1300*time.Millisecond || took > 2400*time.Millisecond { // what the tick is for; lease.md: 1.957 to 2.322 s
			t.Errorf("gone %v after the last refresh, without a tick", took)
		}
		if on(t, a, func() (bool, error) { return link.Ticking(t.Context()) }) {
			t.Error("a tick that does not run is seen")
		}
	})
}

// disturbed takes an address, never refreshes it, adds another 0.95 s later, and gives how long the first was there.
func disturbed(t *testing.T, a *hatest.Node) time.Duration {
	t.Helper()
	addr, _ := hatest.Shared(0)
	other, _ := hatest.Shared(1)
	l := leases(t, a)
	if err := l.Take(t.Context(), "eth0", addr); err != nil {
		t.Fatal(err)
	}
	since := l.Held()[0].Since
	eventually(t, "0.95 s are over", func() bool { return boottime().Sub(since) >= 950*time.Millisecond })
	if err := a.AddAddr(netip.PrefixFrom(other, 32)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ends", func() bool { return !holds(t, a, addr) })
	return boottime().Sub(since)
}

func TestTheTickTidiesUp(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	a := hatest.Start(t, "a").Node("a")
	p := as(t, a, "tick")
	eventually(t, "the tick runs", func() bool { return on(t, a, func() (bool, error) { return link.Ticking(t.Context()) }) })
	// It goes on where it was after it stood still.
	for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT} {
		if err := p.Signal(sig); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the tick stops and goes on", func() bool { return holds(t, a, link.TickAddress) == (sig == unix.SIGCONT) })
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(within(t, patience)); err != nil {
		t.Error(err)
	}
	if holds(t, a, link.TickAddress) {
		t.Error("its address is left")
	}
}
