package storage

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/ha/failover"
)

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func records(t *testing.T, l *lab, want ...string) {
	t.Helper()
	synctest.Wait()
	for i, n := range l.nodes {
		if got := n.recordNow(); got != want[i] {
			t.Errorf("%s has the record %q, want %q", n.name, got, want[i])
		}
	}
}

func primary(t *testing.T, n *labNode, d time.Duration) error {
	t.Helper()
	if _, err := n.Acquire(within(t, d)); err != nil {
		return err
	}
	return n.Primary(within(t, d), "r0")
}

func TestTwoThatSeeEachOtherArePaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		records(t, l, "paired (0)", "paired (0)")
		for _, n := range l.nodes {
			if r := n.rightNow(); r.State != failover.RightYes {
				t.Errorf("%s: %v", n.name, r)
			}
		}
		if err := primary(t, l.nodes[1], time.Second); err != nil {
			t.Error(err)
		}
		if err := primary(t, l.nodes[0], time.Second); err == nil {
			t.Error("both are primary")
		}
	})
}

// A hand-over is taken although the peer's last word, before it let go, was that it is active.
func TestAHandOverIsTakenThoughTheLastWordIsOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		l.nodes[1].Beats(Pulse{Alive: true, Active: true})
		time.AfterFunc(300*time.Millisecond, func() { l.nodes[1].Beats(Pulse{Alive: true}) })
		if err := primary(t, l.nodes[1], 10*time.Second); err != nil {
			t.Error(err)
		}
	})
}

// A primary whose peer went on without it, by the arbiter or by a fence that lied, lets what its kernel has frozen fail, and keeps it frozen until it knows.
func TestFrozenWritesFailWhenThePeerWentOn(t *testing.T) {
	for _, arbiter := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, map[bool]string{false: "fence", true: "arbiter"}[arbiter])
			a, b := l.nodes[0], l.nodes[1]
			if err := primary(t, a, time.Second); err != nil {
				t.Fatal(err)
			}
			l.partition(true)
			time.Sleep(10 * time.Second)
			l.set(func() { l.wins, l.lies, l.mute[0] = arbiter, !arbiter, true })
			if err := primary(t, b, 20*time.Second); err != nil {
				t.Fatal(err)
			}
			if !a.frozen || a.disk != drbd.UpToDate {
				t.Error("let go of before anybody knew")
			}
			if arbiter {
				l.set(func() { l.mute[0] = false })
				if exit, _ := a.Fenced(within(t, 5*time.Second)); exit != 1 {
					t.Errorf("fence-peer exits with %d", exit)
				}
			} else {
				l.set(func() { l.lan = true })
			}
			time.Sleep(5 * time.Second)
			if r := a.rightNow(); r.State != failover.RightLost || a.frozen || a.disk != drbd.Diskless {
				t.Errorf("%v; frozen: %v, disk %v", r, a.frozen, a.disk)
			}
		})
	}
}

// DRBD asks its handler once. An answer that comes later, of an arbiter that was away or of a person, has the writes go on as well, and not before the record.
func TestFrozenWritesGoOnWhenTheAnswerComesLate(t *testing.T) {
	for _, alone := range []string{"arbiter", "fence"} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, alone)
			a := l.nodes[0]
			if err := primary(t, a, time.Second); err != nil {
				t.Fatal(err)
			}
			l.partition(true)
			if exit, err := a.Fenced(within(t, 20*time.Second)); exit != 1 || err == nil {
				t.Errorf("fence-peer exits with %d, %v", exit, err)
			}
			time.Sleep(time.Minute)
			if d := a.diskNow(); !a.frozen || d.Frozen == "" || d.Command != "kvmha confirm-dead varda vm-varda" {
				t.Errorf("frozen %v: %+v", a.frozen, d)
			}
			records(t, l, "paired (0)", "paired (0)")
			if alone == "arbiter" {
				l.set(func() { l.wins = true })
			} else if err := a.Confirm("root"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			records(t, l, "alone 1", "paired (0)")
			if d := a.diskNow(); a.frozen || d.Frozen != "" {
				t.Errorf("frozen %v: %+v", a.frozen, d)
			}
		})
	}
}

// Under `alone = "<node>"` that node goes on at once, and the other one waits for a person, whatever fence answers.
func TestTheNamedNodeGoesOnAndTheOtherOneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		l.fence[1] = nil // it would kill
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.partition(true)
		exit, err := l.nodes[0].Fenced(within(t, time.Second))
		if exit != 7 || err != nil {
			t.Errorf("fence-peer of the named node exits with %d, %v", exit, err)
		}
		time.Sleep(time.Minute)
		records(t, l, "alone 1", "paired (0)")
		r := l.nodes[1].rightNow()
		if r.State != failover.RightNo || r.Command != "kvmha confirm-dead varda varda2" {
			t.Errorf("the other one: %v, %q", r, r.Command)
		}
		if err := primary(t, l.nodes[1], 10*time.Second); err == nil || l.nodes[0].off {
			t.Errorf("the other one promotes: %v; the named one is off: %v", err, l.nodes[0].off)
		}
		// A resync later both are paired at the new number.
		l.partition(false)
		time.Sleep(3 * time.Second)
		records(t, l, "paired (1)", "paired (1)")
	})
}

func TestWhoseFenceAnswersGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "fence")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.partition(true)
		began := time.Now()
		l.fence[1] = nil
		l.nodes[1].FenceAfter = 2730 * time.Millisecond // no multiple of what is between two rounds
		if err := primary(t, l.nodes[1], 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if took, want := time.Since(began), 4730*time.Millisecond; took < want || took > want+10*time.Millisecond {
			t.Errorf("the standby has fenced after %v, want %v: 2 s after the active one would, and at once then", took, want)
		}
		if !l.nodes[0].off {
			t.Error("the other one runs")
		}
		records(t, l, "paired (0)", "alone 1")
	})
}

// While no fence answers nobody goes on: it ends waiting, with the reason and the one command.
func TestSilentFenceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "fence")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.set(func() { l.nodes[0].off = true })
		l.nodes[1].Beats(Pulse{Since: time.Now()})
		err := primary(t, l.nodes[1], 30*time.Second)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Command != "kvmha confirm-dead varda varda2" || !strings.Contains(refused.Why, "no fence has answered") {
			t.Errorf("it says %v", err)
		}
		records(t, l, "paired (0)", "paired (0)")
		if err := l.nodes[1].Confirm("anne"); err != nil {
			t.Fatal(err)
		}
		if err := primary(t, l.nodes[1], time.Second); err != nil {
			t.Errorf("after a person's word: %v", err)
		}
		records(t, l, "paired (0)", "alone 1")
	})
}

func TestAPeerThatIsHeardIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		l.set(func() { l.link = false })
		if err := l.nodes[1].Confirm("anne"); err == nil {
			t.Error("a person may declare a peer dead that answers")
		}
	})
}

// Of two that the arbiter is asked by, one goes on; the other one was active, and lets go.
func TestTheArbiterDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "arbiter")
		l.set(func() { l.wins = true })
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.partition(true)
		if err := primary(t, l.nodes[1], 10*time.Second); err != nil { // the standby is first here
			t.Fatal(err)
		}
		exit, err := l.nodes[0].Fenced(within(t, 5*time.Second))
		if exit != 1 || err == nil {
			t.Errorf("fence-peer of the one that lost exits with %d, %v", exit, err)
		}
		if r := l.nodes[0].rightNow(); r.State != failover.RightLost {
			t.Errorf("the active one was told %v", r)
		}
		records(t, l, "paired (0)", "alone 1")
	})
}

// Only DRBD's link is cut: the peer gives up its right over the channel, is outdated, and the active one goes on by exit 4.
func TestThePeerLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "fence")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.set(func() { l.link = false })
		exit, err := l.nodes[0].Fenced(within(t, 5*time.Second))
		if exit != 4 || err != nil {
			t.Fatalf("fence-peer exits with %d, %v", exit, err)
		}
		records(t, l, "alone 1", "paired (1)")
		if l.nodes[1].disk != drbd.Outdated {
			t.Error("the peer's disk is not outdated")
		}
		if r := l.nodes[1].rightNow(); r.State != failover.RightNo {
			t.Errorf("the peer was told %v", r)
		}
		// The one that let go is asked for nothing: it does not take the right back by itself.
		if err := primary(t, l.nodes[1], 5*time.Second); err == nil {
			t.Error("it is primary although it let go")
		}
	})
}

// An active node never lets go because somebody asks.
func TestTheActiveNodeDoesNotLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "fence")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.set(func() { l.link = false })
		if err := primary(t, l.nodes[1], 5*time.Second); err == nil {
			t.Error("the standby is primary beside the active one")
		}
		if got := l.nodes[0].recordNow(); got != "paired (0)" && got != "alone 1" { // the other one may have let go meanwhile
			t.Errorf("the active one has the record %q", got)
		}
	})
}

// A node that boots without its peer goes on by its own record only (the seed's staggered power loss).
func TestWhoBootsAloneGoesOnByItsRecordOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		l.partition(true)
		for _, n := range l.nodes {
			k := New(n.Config, n.World) // a boot: nothing is known but the record
			k.sawDisks(drbd.State{Resources: []drbd.Resource{{Name: "r0", Role: drbd.Secondary, Volumes: []drbd.Volume{{Disk: drbd.UpToDate}}, Peers: []drbd.Peer{{Connection: drbd.Connecting}}}}}, nil)
			if _, err := k.Acquire(within(t, 2*time.Second)); err == nil {
				t.Errorf("%s goes on alone although it was paired", n.name)
			}
		}
		n := l.nodes[0]
		if err := n.Records.Write(n.record, time.Now()); err != nil {
			t.Fatal(err)
		}
		if exit, err := n.Fenced(within(t, time.Second)); exit != 7 {
			t.Fatal(exit, err)
		}
		k := New(n.Config, n.World)
		k.sawDisks(drbd.State{Resources: []drbd.Resource{{Name: "r0", Role: drbd.Secondary, Volumes: []drbd.Volume{{Disk: drbd.UpToDate}}, Peers: []drbd.Peer{{Connection: drbd.Connecting}}}}}, nil)
		if by, err := k.Acquire(within(t, 2*time.Second)); err != nil {
			t.Errorf("the one that was alone: %v, %v", by, err)
		}
	})
}

// A target writes down that its peer has what counts before it is overwritten; who went on alone refuses.
func TestBeforeAResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.partition(true)
		if exit, err := l.nodes[0].Fenced(within(t, time.Second)); exit != 7 {
			t.Fatal(exit, err)
		}
		if err := l.nodes[0].Target("r0"); err == nil {
			t.Error("the one that went on alone lets itself be overwritten")
		}
		if err := l.nodes[1].Target("r0"); err != nil {
			t.Error(err)
		}
	})
}

// At a boot without its peer DRBD with fencing calls good data Consistent: the record decides.
func TestConsistentAtABootIsGoodForTheOneThatWasAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.partition(true)
		if exit, err := l.nodes[0].Fenced(within(t, time.Second)); exit != 7 {
			t.Fatal(exit, err)
		}
		for i, n := range l.nodes {
			k := New(n.Config, n.World)
			boots := func(d drbd.Disk) {
				k.sawDisks(drbd.State{Resources: []drbd.Resource{{Name: "r0", Role: drbd.Secondary, Volumes: []drbd.Volume{{Disk: d}}, Peers: []drbd.Peer{{Connection: drbd.Connecting}}}}}, nil)
			}
			boots(drbd.Consistent)
			if by, err := k.Acquire(within(t, 2*time.Second)); (err == nil) != (i == 0) {
				t.Errorf("%s: %v, %v", n.name, by, err)
			}
			for _, bad := range []drbd.Disk{drbd.Outdated, drbd.Inconsistent, drbd.Diskless, drbd.Failed, drbd.Attaching, drbd.Negotiating, drbd.NoDisk} {
				boots(bad)
				if _, err := k.Acquire(within(t, time.Second)); err == nil {
					t.Errorf("%s goes on with %v", n.name, bad)
				}
			}
		}
	})
}

// A second caller of the handler gets the same answer, and nobody is fenced twice.
func TestTheHandlerIsCalledTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, "varda2")
		if err := primary(t, l.nodes[0], time.Second); err != nil {
			t.Fatal(err)
		}
		l.partition(true)
		got := make(chan int, 16)
		for range 16 {
			go func() {
				exit, _ := l.nodes[0].Fenced(within(t, 5*time.Second))
				got <- exit
			}()
		}
		for range 16 {
			if exit := <-got; exit != 7 {
				t.Errorf("exits with %d", exit)
			}
		}
		records(t, l, "alone 1", "paired (0)")
	})
}
