package storage

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// killWhen has a guest end its agent as soon as a condition holds; a loop in the guest looks without a pause.
func killWhen(ctx context.Context, g *drbdlab.Guest, condition string) error {
	_, err := g.Sh(ctx, fmt.Sprintf("until %s; do :; done; kill -9 $(cat /run/kvmha.pid)", condition))
	return err
}

// TestAnAgentKilledBetweenAnyTwoSteps kills it at each step of promote, of demote and of a resync, starts it again, and has one that is active and one that
// stands by, with all that was acknowledged. Meanwhile never two are primary.
func TestAnAgentKilledBetweenAnyTwoSteps(t *testing.T) {
	ctx := drbdtest.During(t, 8*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "arbiter")
	var s drbdlab.Scribe
	within, stop := context.WithTimeout(ctx, time.Second)
	s.On(within, a.A)
	stop()
	const (
		address = "ip -4 addr show eth0 | grep -q 10.90.0.100"
		mounted = "grep -q ' /srv ' /proc/mounts"
		primary = "grep -q ro:Primary /proc/drbd"
		asked   = "pidof drbdadm >/dev/null"
	)
	for _, scene := range []struct {
		name, when string
		of         *drbdlab.Guest // its agent is killed, while the other one hands over to it (promote) or it hands over itself
		demotes    bool
	}{
		{"promote: before drbdadm has ended", asked, a.B, false},
		{"promote: primary, not mounted", primary, a.B, false},
		{"promote: mounted, without address", mounted, a.B, false},
		{"promote: with the address", address, a.B, false},
		{"demote: without address, mounted", "! { " + address + "; }", a.A, true},
		{"demote: unmounted, primary", "! " + mounted, a.A, true},
		{"demote: secondary", "! " + primary, a.A, true},
	} {
		active, err := a.Active(ctx)
		drbdtest.Must(t, err)
		if active != a.A {
			if _, err := a.B.Sh(ctx, "kvmha switch varda"); err != nil {
				t.Fatal(err)
			}
			drbdtest.Must(t, a.Role(ctx, a.A, "active"))
			drbdtest.Must(t, a.Role(ctx, a.B, "standby"))
		}
		began := time.Now()
		var killer sync.WaitGroup
		var killed error
		over := make(chan struct{})
		killer.Go(func() { defer close(over); killed = killWhen(ctx, scene.of, scene.when) })
		for done := false; !done; { // it may be refused, or end without an answer
			_, _ = a.A.Sh(ctx, "kvmha switch varda")
			select {
			case <-over:
				done = true
			case <-time.After(time.Second):
			}
		}
		killer.Wait()
		drbdtest.Must(t, killed)
		for range 10 { // an agent that is dead for a while
			drbdtest.Must(t, a.AtMostOnePrimary(ctx))
		}
		drbdtest.Must(t, a.Start(ctx, scene.of))
		active, err = a.Active(ctx)
		if err != nil {
			t.Fatalf("%s: %v", scene.name, err)
		}
		drbdtest.Must(t, a.AtMostOnePrimary(ctx))
		drbdtest.Kept(ctx, t, &s, active)
		t.Logf("%s: %s is active %v after the hand-over was asked for", scene.name, active.Name, time.Since(began).Round(100*time.Millisecond))
	}
}

// TestAnAgentThatStaysDead is active, and DRBD goes on without it: nobody else may promote, and the other one says so. When it comes back it serves again.
func TestAnAgentThatStaysDead(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "arbiter")
	_, err := a.A.Sh(ctx, "echo mellon >/srv/file; sync; kill -9 $(cat /run/kvmha.pid)")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.B.Until(ctx, "kvmha status varda | grep -q 'alarm: nobody-active'"))
	if role, missing, _ := drbdtest.Says(ctx, t, a, a.B); role == "active" || missing == "" {
		t.Errorf("the standby is %s, missing %q", role, missing)
	} else {
		t.Logf("the standby is %s: %s", role, missing)
	}
	drbdtest.Must(t, a.AtMostOnePrimary(ctx))
	drbdtest.Must(t, a.Start(ctx, a.A))
	drbdtest.Must(t, a.Role(ctx, a.A, "active"))
	drbdtest.Must(t, a.Role(ctx, a.B, "standby"))
	// The same amid a resync of the standby: killed when the kernel has it ask before it is overwritten.
	drbdtest.Must(t, a.A.Link(ctx, 1, false))
	drbdtest.Must(t, a.A.Until(ctx, "grep -q 'DUnknown\\|Outdated' /proc/drbd"))
	_, err = a.A.Sh(ctx, "dd if=/dev/urandom of=/srv/big bs=64k count=300 conv=fsync 2>/dev/null")
	drbdtest.Must(t, err)
	var killer sync.WaitGroup
	var killed error
	killer.Go(func() { killed = killWhen(ctx, a.B, "grep -q 'cs:WFSyncUUID\\|cs:SyncTarget' /proc/drbd") })
	drbdtest.Must(t, a.A.Link(ctx, 1, true))
	killer.Wait()
	drbdtest.Must(t, killed)
	drbdtest.Must(t, a.Start(ctx, a.B))
	drbdtest.Must(t, a.Role(ctx, a.B, "standby"))
	drbdtest.Must(t, a.UpToDate(ctx))
	drbdtest.Must(t, a.Role(ctx, a.A, "active"))
}
