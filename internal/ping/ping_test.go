package ping

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/icmp"
	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
)

func packet(t testing.TB, m *icmp.Message) []byte {
	b, err := m.Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOnlyTheReplyToOurOwnRequestCounts(t *testing.T) {
	asked := &icmp.Echo{ID: 7, Seq: 1, Data: []byte("nonce")}
	for _, tt := range []struct {
		name string
		m    icmp.Message
		want bool
	}{
		{"the reply", icmp.Message{Type: v4.reply, Body: asked}, true},
		{"our own request, which loopback shows", icmp.Message{Type: v4.request, Body: asked}, false},
		{"another process's", icmp.Message{Type: v4.reply, Body: &icmp.Echo{ID: 8, Seq: 1, Data: asked.Data}}, false},
		{"an earlier one", icmp.Message{Type: v4.reply, Body: &icmp.Echo{ID: 7, Seq: 0, Data: asked.Data}}, false},
		{"one that guesses", icmp.Message{Type: v4.reply, Body: &icmp.Echo{ID: 7, Seq: 1, Data: []byte("guess")}}, false},
		{"with a code", icmp.Message{Type: v4.reply, Code: 1, Body: asked}, false},
	} {
		if got := answers(v4, packet(t, &tt.m), asked); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if answers(v4, nil, asked) || answers(v6, []byte{129}, asked) {
		t.Error("a packet that is cut short")
	}
}

func FuzzAnswers(f *testing.F) {
	asked := &icmp.Echo{ID: 7, Seq: 1, Data: []byte("nonce")}
	f.Add(packet(f, &icmp.Message{Type: v4.reply, Body: asked}))
	f.Add(packet(f, &icmp.Message{Type: v6.reply, Body: asked}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		answers(v4, b, asked)
		answers(v6, b, asked)
	})
}

func TestLoopbackAnswersAndNobodyDoesNot(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	for _, addr := range []string{"127.0.0.1", "::1"} {
		if err := Once(t.Context(), netip.MustParseAddr(addr), 5*time.Second); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Once(ctx, netip.MustParseAddr("127.0.0.1"), time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("after ^C: %v", err)
	}
}

// In a network namespace with one bridge on which nobody is.
func TestAnAddressWhereNobodyIs(t *testing.T) {
	testenv.Need(t, testenv.Netns)
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespace with it
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	nobody := netip.MustParseAddr("10.77.0.9")
	if err := Once(t.Context(), nobody, time.Second); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("without a route: %v", err)
	}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "kvping0"}}
	addr, err := netlink.ParseAddr("10.77.0.1/24")
	if err := errors.Join(err, netlink.LinkAdd(br), netlink.AddrAdd(br, addr), netlink.LinkSetUp(br)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := Once(t.Context(), nobody, 100*time.Millisecond); !errors.Is(err, ErrNoAnswer) || time.Since(began) < 100*time.Millisecond {
		t.Errorf("on an empty bridge: %v after %v", err, time.Since(began))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Once(ctx, nobody, time.Minute); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("at the end of ctx: %v", err)
	}
}
