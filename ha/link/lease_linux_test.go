package link_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/ha/link"
	"kvmctl/internal/testenv"
)

// patience bounds waits for what must come.
const patience = 20 * time.Second

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, what string, fact func() bool) {
	t.Helper()
	if err := hatest.Until(within(t, patience), fact); err != nil {
		t.Fatalf("it never came that %s", what)
	}
}

// on runs f on a node's thread.
func on[T any](t *testing.T, n *hatest.Node, f func() (T, error)) (v T) {
	t.Helper()
	if err := n.Do(func() (err error) { v, err = f(); return err }); err != nil {
		t.Fatal(err)
	}
	return v
}

// boottime is what the agent uses.
func boottime() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return time.Unix(ts.Sec, ts.Nsec)
}

func leases(t *testing.T, n *hatest.Node) *link.Leases {
	t.Helper()
	l := on(t, n, func() (*link.Leases, error) { return link.OpenLeases(boottime) })
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// keep turns as an agent does, until stop, and gives what was lost.
func keep(l *link.Leases) (stop func() []link.Lost) {
	quit := make(chan struct{})
	var lost []link.Lost
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			more, _ := l.Turn(20 * time.Millisecond)
			lost = append(lost, more...)
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	})
	return func() []link.Lost {
		close(quit)
		all.Wait()
		return lost
	}
}

func holds(t *testing.T, n *hatest.Node, a netip.Addr) bool {
	t.Helper()
	has, err := n.Holds(a)
	if err != nil {
		t.Fatal(err)
	}
	return has
}

func TestALeaseLastsWhileItIsRefreshedAndEndsByItself(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	for n, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := hatest.Start(t, "a").Node("a")
			v4, v6 := hatest.Shared(0)
			addr := []netip.Addr{v4, v6}[n]
			l := leases(t, a)
			if err := l.Take(t.Context(), "eth0", addr); err != nil {
				t.Fatal(err)
			}
			stop := keep(l)
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
				if !holds(t, a, addr) {
					t.Fatal("it is gone although it was refreshed")
				}
				if err := hatest.Until(within(t, 20*time.Millisecond), func() bool { return false }); err == nil {
					t.Fatal("no wait")
				}
			}
			if lost := stop(); len(lost) > 0 {
				t.Fatalf("lost %v", lost)
			}
			held := l.Held()
			last := held[0].Since
			eventually(t, "it ends", func() bool { return !holds(t, a, addr) })
			if took := boottime().Sub(last); took < 950*time.Millisecond || took > 1400*time.Millisecond {
				t.Errorf("gone %v after the last refresh, want 1.0 to 1.3 s", took)
			}
			// The first turn after it is not to bring it back (lease.md: a refresh inserts, 4 of 4).
			lost, err := l.Turn(time.Second)
			if err != nil || len(lost) != 1 || lost[0].Why != link.Expired || lost[0].Addr != addr {
				t.Errorf("lost %v, error %v, want %s expired", lost, err, addr)
			}
			if holds(t, a, addr) {
				t.Error("the turn has brought it back")
			}
		})
	}
}

func TestARefreshThatFindsItGoneTakesItBackOut(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	for n, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := hatest.Start(t, "a").Node("a")
			v4, v6 := hatest.Shared(0)
			addr := []netip.Addr{v4, v6}[n]
			l := leases(t, a)
			if err := l.Take(t.Context(), "eth0", addr); err != nil {
				t.Fatal(err)
			}
			if err := a.DelAddr(netip.PrefixFrom(addr, addr.BitLen())); err != nil {
				t.Fatal(err)
			}
			var lost []link.Lost
			eventually(t, "the turn sees it", func() bool {
				more, err := l.Turn(time.Second)
				if err != nil {
					t.Error(err)
				}
				lost = append(lost, more...)
				return len(lost) > 0
			})
			if len(lost) != 1 || lost[0].Why != link.Removed {
				t.Errorf("lost %v, want it removed", lost)
			}
			if holds(t, a, addr) {
				t.Error("it is back")
			}
			if held := l.Held(); len(held) > 0 {
				t.Errorf("still holds %v", held)
			}
		})
	}
}

func TestAStallInTheMiddleOfATurn(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	a := hatest.Start(t, "a").Node("a")
	addr, _ := hatest.Shared(0)
	// The clock before a refresh is read, and then the process stands still until the kernel has dropped the address: what a SIGSTOP at the
	// worst of all instants does.
	var mu sync.Mutex
	stall := 0
	l := on(t, a, func() (*link.Leases, error) {
		return link.OpenLeases(func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			now := boottime()
			if stall--; stall == 0 {
				eventually(t, "the kernel drops it", func() bool { return !holds(t, a, addr) })
			}
			return now
		})
	})
	t.Cleanup(func() { _ = l.Close() })
	if err := l.Take(t.Context(), "eth0", addr); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a refresh is due", func() bool { return boottime().After(l.Next()) })
	mu.Lock()
	stall = 2 // the first look is Turn's, whether a refresh is due; the second is the refresh's own
	mu.Unlock()
	var lost []link.Lost
	eventually(t, "it is told", func() bool {
		more, _ := l.Turn(3 * time.Second)
		lost = append(lost, more...)
		return len(lost) > 0
	})
	if len(lost) != 1 || lost[0].Why != link.Expired {
		t.Errorf("lost %v, want it expired", lost)
	}
	eventually(t, "it is off", func() bool { return !holds(t, a, addr) })
}

func TestTakeAndDrop(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	a := hatest.Start(t, "a").Node("a")
	v4, v6 := hatest.Shared(0)
	l := leases(t, a)
	ctx := t.Context()
	for _, addr := range []netip.Addr{v4, v6} {
		for range 2 { // twice is as once
			if err := l.Take(ctx, "eth0", addr); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := l.Drop(ctx, "eth0", addr); err != nil {
				t.Fatal(err)
			}
		}
		if holds(t, a, addr) || len(l.Held()) > 0 {
			t.Errorf("%s is still there; held %v", addr, l.Held())
		}
		// What was left by one that is gone is replaced; what an admin has set is not touched, whatever its prefix.
		other := leases(t, a)
		if err := other.Take(ctx, "eth0", addr); err != nil {
			t.Fatal(err)
		}
		if err := l.Take(ctx, "eth0", addr); err != nil {
			t.Errorf("a leftover: %v", err)
		}
		if err := l.Drop(ctx, "eth0", addr); err != nil {
			t.Fatal(err)
		}
		theirs := netip.PrefixFrom(addr, addr.BitLen()-8)
		if err := a.AddAddr(theirs); err != nil {
			t.Fatal(err)
		}
		err := l.Take(ctx, "eth0", addr)
		present, ok := errors.AsType[*link.PresentError](err)
		if !ok || present.Prefix != theirs || present.Interface != "eth0" || present.Leased {
			t.Errorf("error %v, want that it is there", err)
		}
		if err := l.Drop(ctx, "eth0", addr); err != nil || !holds(t, a, addr) {
			t.Errorf("the admin's address was dropped, or error %v", err)
		}
	}
	if err := l.Take(ctx, "eth9", v4); !errors.Is(err, unix.ENODEV) || err.Error() != "add address 10.77.0.240 to eth9: no such device" {
		t.Errorf("on no interface: %v", err)
	}
}

func TestLeftoversAreDeletedAndNothingElse(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	a := hatest.Start(t, "a").Node("a")
	v4, v6 := hatest.Shared(0)
	foreign, _ := hatest.Shared(1)
	static, _ := hatest.Shared(2)
	l := leases(t, a)
	for _, addr := range []netip.Addr{v4, v6, foreign} {
		if err := l.Take(t.Context(), "eth0", addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.AddAddr(netip.PrefixFrom(static, 32)); err != nil {
		t.Fatal(err)
	}
	deleted := on(t, a, func() ([]link.Present, error) { return link.Leftovers(t.Context(), v4, v6, static) })
	var got []string
	for _, p := range deleted {
		got = append(got, p.Prefix.String())
	}
	slices.Sort(got)
	if want := []string{"10.77.0.240/32", "fd77::f0/128"}; !slices.Equal(got, want) {
		t.Errorf("deleted %v, want %v", got, want)
	}
	if !holds(t, a, foreign) || !holds(t, a, static) || holds(t, a, v4) || holds(t, a, v6) {
		t.Error("not what the list says")
	}
}

func TestManyAddressesHaveLongerTerms(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns)
	a := hatest.Start(t, "a").Node("a")
	l := leases(t, a)
	var addrs []netip.Addr
	for n := range 200 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 78, 0, byte(n + 1)}))
	}
	stop := keep(l)
	for _, addr := range addrs {
		if err := l.Take(t.Context(), "eth0", addr); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all have the longer one", func() bool {
		return !slices.ContainsFunc(l.Held(), func(h link.Held) bool { return h.Lifetime != 2*time.Second })
	})
	first := l.Held()[0].Since
	eventually(t, "three more turns", func() bool { return l.Held()[0].Since.Sub(first) > 3*time.Second })
	if lost := stop(); len(lost) > 0 || len(l.Held()) != len(addrs) {
		t.Errorf("lost %v, holds %d", lost, len(l.Held()))
	}
}

func TestTheInterfaceGoesAway(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.Netns, "ip")
	a := hatest.Start(t, "a").Node("a")
	v4, v6 := hatest.Shared(0)
	l := leases(t, a)
	for _, addr := range []netip.Addr{v4, v6} {
		if err := l.Take(t.Context(), "eth0", addr); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := a.Command(t.Context(), "ip", "link", "del", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	eventually(t, "both are lost", func() bool {
		lost, _ := l.Turn(time.Second)
		for _, x := range lost {
			got = append(got, x.String())
		}
		return len(got) == 2
	})
	slices.Sort(got)
	if want := []string{"lost 10.77.0.240 on eth0: its interface went away", "lost fd77::f0 on eth0: its interface went away"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// tickEnv makes this program an agent that holds an address, or the tick, until it is killed.
const tickEnv = "KVMHA_TEST_LINK_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(tickEnv) {
	case "":
		os.Exit(m.Run())
	case "tick":
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
		defer stop()
		if err := link.Tick(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "holder":
		if err := hold(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// hold keeps the addresses that are its arguments, says when each turn was, and when it has lost one.
func hold() error {
	l, err := link.OpenLeases(boottime)
	if err != nil {
		return err
	}
	for _, arg := range os.Args[1:] {
		if err := l.Take(context.Background(), "eth0", netip.MustParseAddr(arg)); err != nil {
			return err
		}
	}
	fmt.Println("holds")
	for {
		lost, err := l.Turn(20 * time.Millisecond)
		if err != nil {
			return err
		}
		for _, x := range lost {
			fmt.Println(x)
		}
		time.Sleep(min(50*time.Millisecond, max(time.Millisecond, l.Next().Sub(boottime()))))
	}
}
