package control_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/ha/drbd/control"
	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
)

// TestOnRealDRBD acts on two guests with drbd.ko, cuts their cable, lets them diverge, and has a fence answer wrongly and late.
func TestOnRealDRBD(t *testing.T) {
	testenv.Need(t, testenv.QEMU)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	program, err := drbdlab.Program(ctx, "kvmctl/test/drbdlab/cmd/oddpeer")
	if err != nil {
		t.Fatal(err)
	}
	guests, err := drbdlab.New(ctx, map[string][]byte{"/lab/oddpeer": program, "/lab/fence": []byte("#!/bin/sh\nexit $(cat /run/answer)\n")})
	if err != nil {
		t.Fatal(err)
	}
	defer guests.Close()
	l := &lab{t, guests, ctx, control.New(guests.A), control.New(guests.B)}
	l.step("nothing is there", nothing)
	l.step("roles", roles)
	l.step("the cable", cable)
	l.step("events2 dies and is silent", events)
	l.step("stand-alone", standAlone)
	l.step("split brain", splitBrain)
	l.step("fencing", fencing)
	l.step("another protocol", protocol)
	l.step("metadata, a command that hangs, no module", broken)
}

// plain has a resync and a verification take no time.
var plain = drbdlab.Config{Net: "verify-alg sha1;", Disk: "c-plan-ahead 0; resync-rate 200M;"}

func nothing(l *lab) {
	l.fails(l.a.Up(l.ctx, "r0"), control.BadConfig)
	l.must(l.Configure(l.ctx, plain))
	l.fails(l.a.Up(l.ctx, "r0"), control.BadMetadata)
	l.fails(l.a.Primary(l.ctx, "r0"), control.NotUpToDate) // what could be configured is
	l.must(l.a.Down(l.ctx, "r0"))
	l.must(l.a.Down(l.ctx, "r0"))
	l.fails(l.a.Primary(l.ctx, "r0"), control.NotConfigured)
	l.fails(l.a.Primary(l.ctx, "r9"), control.Undefined)
	l.fails(l.a.Disconnect(l.ctx, "r0"), control.NotConfigured)
	l.must(l.Replicate(l.ctx, plain))
	l.must(l.a.Up(l.ctx, "r0"))
}

func roles(l *lab) {
	l.must(l.a.Primary(l.ctx, "r0"))
	l.must(l.a.Primary(l.ctx, "r0"))
	l.fails(l.b.Primary(l.ctx, "r0"), control.TwoPrimaries)
	l.fails(l.b.Outdate(l.ctx, "r0"), control.IsConnected)
	l.fails(l.a.Outdate(l.ctx, "r0"), control.IsPrimary)
	l.sh(l.A, "sleep 1000 </dev/drbd0 >/dev/null 2>&1 & echo $! >/run/holder")
	l.fails(l.a.Secondary(l.ctx, "r0"), control.HeldOpen)
	l.fails(l.a.Down(l.ctx, "r0"), control.HeldOpen)
	l.sh(l.A, "kill $(cat /run/holder)")
	l.until(l.a, "secondary", func(drbd.Resource) bool { return l.a.Secondary(l.ctx, "r0") == nil })
	l.must(l.a.Verify(l.ctx, "r0"))
	l.until(l.a, "verified", quiet)
}

func cable(l *lab) {
	ctx, cancel := context.WithCancel(l.ctx)
	w := l.watch(ctx, l.a)
	defer func() { cancel(); <-w.done }()
	w.sees(l, "quiet", quiet)
	l.must(l.a.Primary(l.ctx, "r0"))
	w.sees(l, "primary", func(r drbd.Resource) bool { return r.Role == drbd.Primary })
	l.must(l.A.Link(l.ctx, 1, false))
	began := time.Now()
	told, _ := w.sees(l, "connecting", connecting)
	l.Logf("told %.2fs after the cut, of which DRBD's ping takes up to 1.5 s", told.Sub(began).Seconds())
	l.until(l.b, "connecting", connecting)
	l.must(l.b.Outdate(l.ctx, "r0"))
	l.must(l.b.Outdate(l.ctx, "r0"))
	l.fails(l.b.Primary(l.ctx, "r0"), control.NotUpToDate)
	l.fails(l.a.Verify(l.ctx, "r0"), control.NoPeer)
	l.must(l.A.Link(l.ctx, 1, true))
	w.sees(l, "quiet", quiet)
	l.must(l.a.Secondary(l.ctx, "r0"))
}

func events(l *lab) {
	ctx, cancel := context.WithCancel(l.ctx)
	w := l.watch(ctx, l.a)
	defer func() { cancel(); <-w.done }()
	_, before := w.sees(l, "secondary", func(r drbd.Resource) bool { return r.Role == drbd.Secondary })
	l.sh(l.A, "killall -9 drbdsetup-84")
	l.must(l.a.Primary(l.ctx, "r0"))
	_, tellings := w.sees(l, "primary", func(r drbd.Resource) bool { return r.Role == drbd.Primary })
	if tellings <= before {
		l.Errorf("begun %d times before a kill, and %d after", before, tellings)
	}
	before = tellings
	l.sh(l.A, "killall -STOP drbdsetup-84")
	l.must(l.a.Secondary(l.ctx, "r0"))
	began := time.Now()
	told, tellings := w.sees(l, "secondary", func(r drbd.Resource) bool { return r.Role == drbd.Secondary })
	l.Logf("told %.2fs later, of a change that a stopped events2 kept back", told.Sub(began).Seconds())
	if tellings <= before {
		l.Errorf("begun %d times before a stop, and %d after", before, tellings)
	}
	cancel()
	<-w.done
	if left := l.sh(l.A, "pidof drbdsetup-84 || true"); left != "" {
		l.Errorf("an events2 is left: %s", left)
	}
}

func standAlone(l *lab) {
	ctx, cancel := context.WithCancel(l.ctx)
	w := l.watch(ctx, l.a)
	defer func() { cancel(); <-w.done }()
	l.must(l.b.Disconnect(l.ctx, "r0"))
	l.must(l.b.Disconnect(l.ctx, "r0"))
	w.sees(l, "connecting", connecting)
	l.sh(l.B, `sed -i 's/"lab"/"moria"/' /etc/drbd.conf`)
	l.must(l.b.Connect(l.ctx, "r0"))
	w.sees(l, "stand-alone, by the secret", alone) // events2 destroys the connection, and tells of no other
	l.until(l.b, "stand-alone", alone)
	l.because(drbd.WrongSecret)
	l.sh(l.B, `sed -i 's/"moria"/"lab"/' /etc/drbd.conf`)
	l.must(l.b.Connect(l.ctx, "r0"))
	l.must(l.a.Connect(l.ctx, "r0"))
	l.must(l.a.Connect(l.ctx, "r0"))
	w.sees(l, "quiet", quiet)
	l.fails(l.b.ConnectDiscardMyData(l.ctx, "r0"), control.IsConnected)
}

const write = "dd if=/dev/urandom of=/dev/drbd0 bs=4k count=4 conv=fsync 2>/dev/null"

func splitBrain(l *lab) {
	l.must(l.a.Disconnect(l.ctx, "r0"))
	l.because(drbd.ByAdmin)
	l.until(l.b, "connecting", connecting)
	l.must(l.b.Disconnect(l.ctx, "r0"))
	for _, side := range []struct {
		c *control.Control
		g *drbdlab.Guest
	}{{l.a, l.A}, {l.b, l.B}} {
		l.must(side.c.Primary(l.ctx, "r0"))
		l.sh(side.g, write)
	}
	l.fails(l.b.ConnectDiscardMyData(l.ctx, "r0"), control.IsPrimary)
	l.must(l.b.Secondary(l.ctx, "r0"))
	l.must(l.a.Connect(l.ctx, "r0"))
	l.must(l.b.Connect(l.ctx, "r0"))
	l.until(l.a, "stand-alone", alone)
	l.until(l.b, "stand-alone", alone)
	if why := l.because(drbd.SplitBrain); why.Met != 1 || why.Here != 16 || why.There != 16 {
		l.Errorf("each side wrote 16 KiB: %+v", why)
	}
	l.must(l.b.ConnectDiscardMyData(l.ctx, "r0"))
	l.must(l.a.Connect(l.ctx, "r0"))
	l.until(l.b, "quiet", quiet)
	l.must(l.a.Secondary(l.ctx, "r0"))
	sum := "dd if=/dev/drbd0 bs=4k count=4 2>/dev/null | md5sum"
	l.must(l.a.Primary(l.ctx, "r0"))
	want := l.sh(l.A, sum)
	l.must(l.a.Secondary(l.ctx, "r0"))
	l.must(l.b.Primary(l.ctx, "r0"))
	if got := l.sh(l.B, sum); got != want {
		l.Errorf("the loser has %s, the winner %s", got, want)
	}
	l.must(l.b.Secondary(l.ctx, "r0"))
}

// fencing has resource-and-stonith and a handler that answers what /run/answer says: 1 broken, 7 the peer was killed.
func fencing(l *lab) {
	l.must(l.Configure(l.ctx, drbdlab.Config{Net: plain.Net, Disk: plain.Disk + " fencing resource-and-stonith;", Handlers: `fence-peer "/lab/fence";`}))
	l.sh(l.A, "echo 1 >/run/answer")
	l.sh(l.B, "echo 1 >/run/answer")
	l.must(l.a.Up(l.ctx, "r0"))
	l.must(l.b.Up(l.ctx, "r0"))
	l.must(l.A.Freeze(l.ctx))
	began := time.Now()
	l.fails(l.b.Primary(l.ctx, "r0"), control.PeerNotFenced)
	l.Logf("no fence, and refused after %.2fs", time.Since(began).Seconds())
	l.sh(l.B, "echo 7 >/run/answer")
	began = time.Now()
	l.must(l.b.Primary(l.ctx, "r0"))
	l.Logf("primary %.2fs after the handler had a good answer", time.Since(began).Seconds())
	l.until(l.b, "alone with an outdated peer", outdatedPeer)
	l.must(l.b.Secondary(l.ctx, "r0"))
	l.must(l.A.Thaw(l.ctx))
	l.until(l.a, "quiet", func(r drbd.Resource) bool { // both were secondary when it came back
		if alone(r) {
			l.must(l.a.Connect(l.ctx, "r0"))
			l.must(l.b.Connect(l.ctx, "r0"))
		}
		return quiet(r)
	})
	l.must(l.a.Primary(l.ctx, "r0"))
	l.must(l.a.ResumeIO(l.ctx, "r0"))
	l.must(l.A.Link(l.ctx, 1, false))
	l.until(l.a, "suspended", func(r drbd.Resource) bool { return r.Suspended == drbd.ByFencing })
	l.must(l.a.ResumeIO(l.ctx, "r0"))
	l.sh(l.A, write)
	l.must(l.A.Link(l.ctx, 1, true))
	l.until(l.a, "quiet", quiet)
	l.must(l.a.Secondary(l.ctx, "r0"))
}

// protocol has somebody answer at the peer's address who speaks none of our versions.
func protocol(l *lab) {
	l.must(l.b.Down(l.ctx, "r0"))
	l.sh(l.B, "/lab/oddpeer 10.91.0.2:7788 >/dev/null 2>&1 &")
	l.until(l.a, "stand-alone", alone)
	l.because(drbd.OtherProtocol)
	l.sh(l.B, "killall oddpeer")
	l.must(l.b.Up(l.ctx, "r0"))
	l.must(l.a.Connect(l.ctx, "r0"))
	l.until(l.a, "quiet", quiet)
}

func broken(l *lab) {
	l.must(l.b.Down(l.ctx, "r0"))
	l.sh(l.B, "dd if=/dev/zero of=/dev/vda bs=1M seek=60 count=4 2>/dev/null")
	l.fails(l.b.Up(l.ctx, "r0"), control.BadMetadata)
	l.sh(l.B, "sed -i 's,/dev/vda,/dev/vdz,' /etc/drbd.conf")
	l.fails(l.b.Up(l.ctx, "r0"), control.NoDisk)
	// drbdadm waits for a lock that somebody holds for ever: the caller's patience is shorter.
	l.sh(l.A, "mv /sbin/drbdadm /sbin/real; printf '#!/bin/sh\\nsleep 1000\\n' >/sbin/drbdadm; chmod +x /sbin/drbdadm")
	short, cancel := context.WithTimeout(l.ctx, 300*time.Millisecond)
	defer cancel()
	if err := l.a.Primary(short, "r0"); !errors.Is(err, context.DeadlineExceeded) {
		l.Errorf("of a drbdadm that hangs: %v", err)
	}
	l.until(l.a, "rid of it", func(drbd.Resource) bool {
		out, err := l.A.Sh(l.ctx, "pidof sleep || true")
		return err == nil && out == ""
	})
	l.sh(l.A, "rm /sbin/drbdadm")
	if err := l.a.Primary(l.ctx, "r0"); err == nil {
		l.Error("primary without drbdadm")
	}
	l.sh(l.A, "mv /sbin/real /sbin/drbdadm")
	l.must(l.a.Down(l.ctx, "r0"))
	l.sh(l.A, "rmmod drbd; rm /lib/modules/drbd.ko")
	l.fails(l.a.Up(l.ctx, "r0"), control.NoModule)
	_, err := l.a.States(l.ctx)
	l.fails(err, control.NoModule)
}
