package ha

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Two reloads one after the other: the file that was read first is not the one that counts, however long its reading took.
func TestTheLastFileCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		n := w.add(1)
		dns := testGroup(0)
		dns.Name, dns.VHID, dns.Addresses = "dns", 43, []netip.Addr{shared.Next()}
		before, after := Spec{Node: "n", Groups: []Group{testGroup(0)}}, Spec{Node: "n", Groups: []Group{testGroup(0), dns}}
		hup := make(chan os.Signal)
		var calls atomic.Int32
		load := func(context.Context) (Spec, error) {
			if calls.Add(1) == 1 {
				time.Sleep(2 * time.Second) // it was read before the file changed
				return before, nil
			}
			return after, nil
		}
		a := New(Options{Spec: before, Clock: n, Network: n, Reload: hup, Load: load})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(5 * time.Second)
		hup <- syscall.SIGHUP
		time.Sleep(time.Second)
		hup <- syscall.SIGHUP
		time.Sleep(10 * time.Second)
		if got := w.holders(shared.Next()); len(got) != 1 {
			t.Errorf("the group of the last file is held by %v", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A file whose storage may not run here is refused for safety, not as a mistake in it; nothing changes, and the same goes for a restart.
func TestAnUnsafeFileIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		n := w.add(1)
		spec := Spec{Node: "n", Groups: []Group{testGroup(0)}}
		load := func(context.Context) (Spec, error) {
			return Spec{Node: "n"}, &UnsafeError{[]error{errors.New("storage is not safe here: fstab"), errors.New("and a unit")}}
		}
		a := New(Options{Spec: spec, Clock: n, Network: n, Load: load})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(5 * time.Second)
		for _, v := range []Verb{VerbReload, VerbRestart} {
			if r := a.ask(ctx, Request{Verb: v}); !r.Refused || r.Usage || r.Hint != "kvmha drbd lint" || r.Error != "storage is not safe here: fstab\nand a unit" {
				t.Errorf("%s: %+v", v, r)
			}
		}
		if got := w.holders(shared); len(got) != 1 {
			t.Errorf("the group is held by %v", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
