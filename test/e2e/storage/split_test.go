package storage

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// swallow has both networks swallow everything, or end to.
func swallow(t *testing.T, a *drbdlab.Agents, swallow bool) {
	t.Helper()
	for nic := range 2 {
		drbdtest.Must(t, a.Pass(nic, !swallow))
	}
}

// TestSplitBrain has a person say that a node is dead that is not, so that both write. Each says so, and what to type; nothing is taken from either until a
// person chooses; what the loser had is kept.
func TestSplitBrain(t *testing.T) {
	ctx := drbdtest.During(t, 6*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "varda2")
	until := func(g *drbdlab.Guest, script string) {
		t.Helper()
		drbdtest.Must(t, g.Until(ctx, script))
	}
	role := func(g *drbdlab.Guest, role string) {
		t.Helper()
		drbdtest.Must(t, a.Role(ctx, g, role))
	}
	sh := func(g *drbdlab.Guest, script string) string {
		t.Helper()
		out, err := g.Sh(ctx, script)
		drbdtest.Must(t, err)
		return out
	}

	// An admin's disconnect is no split brain, and stays as it is.
	sh(a.B, "drbdadm disconnect r0")
	until(a.B, "kvmha status varda | grep -q 'somebody disconnected it'")
	until(a.B, "kvmha status varda | grep -q 'to mend it: drbdadm connect r0'")
	if out, err := a.A.Sh(ctx, "kvmha drbd resolve r0 --keep varda2 --yes 2>&1 || [ $? = 3 ]"); err != nil || !strings.Contains(out, "no split brain") && !strings.Contains(out, "not StandAlone") {
		t.Errorf("%v: %s", err, out)
	}
	sh(a.B, "drbdadm connect r0")
	drbdtest.Must(t, a.UpToDate(ctx))
	until(a.A, "grep -q '\"paired\"' /var/lib/kvmha/right/varda*")
	role(a.B, "standby")

	var s drbdlab.Scribe
	write, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { s.On(write, a.A) })
	until(a.A, "[ $(wc -l </srv/lines) -gt 10 ]")
	swallow(t, a, true)
	until(a.B, "kvmha status varda | grep -q 'waiting (right)'")
	sh(a.B, "kvmha confirm-dead varda varda2 --yes") // it is not
	role(a.B, "active")
	sh(a.B, "echo thesis >/srv/thesis; sync")
	until(a.A, "grep -q '\"alone\"' /var/lib/kvmha/right/varda*")
	time.Sleep(time.Second)
	swallow(t, a, false)
	for _, g := range []*drbdlab.Guest{a.A, a.B} {
		until(g, "kvmha status varda | grep -q 'split brain'")
		until(g, "kvmha status varda | grep -q 'to mend it: kvmha drbd resolve r0 --keep <node>'")
	}
	drbdtest.Must(t, oneServes(ctx, a))
	t.Log(sh(a.B, "kvmha drbd resolve r0"))

	// Where the loser's disks do not fit nothing is done.
	if out, err := a.A.Sh(ctx, "kvmha drbd resolve r0 --keep varda2 --yes 2>&1 || [ $? = 3 ]"); err != nil || !strings.Contains(out, "room for") || !strings.Contains(out, "--keep-in") {
		t.Errorf("%v: %s", err, out)
	}
	// A cable that breaks in the middle leaves both as they are.
	sh(a.B, "mkdir -p /keep; mount -t tmpfs -o size=100m none /keep")
	sh(a.A, "(kvmha drbd resolve r0 --keep varda2 --keep-in /keep --yes && echo resolved || echo failed) >/run/resolve 2>&1 &")
	until(a.A, "grep -q 'will stay' /run/resolve")
	swallow(t, a, true)
	until(a.A, "grep -qE '^(resolved|failed)$' /run/resolve")
	t.Log(sh(a.A, "cat /run/resolve"))
	swallow(t, a, false)
	if out := sh(a.A, "cat /run/resolve"); !strings.Contains(out, "as readable as before") && !strings.HasSuffix(out, "resolved\n") {
		t.Errorf("broken off: %s", out)
	}
	drbdtest.Kept(ctx, t, &s, a.A)

	began := time.Now()
	if !strings.HasSuffix(sh(a.A, "cat /run/resolve"), "resolved\n") {
		until(a.A, "kvmha drbd resolve r0 --keep varda2 --keep-in /keep --yes >/run/resolve 2>&1")
		t.Log(sh(a.A, "cat /run/resolve"))
	}
	t.Logf("resolved in %v", time.Since(began).Round(100*time.Millisecond))
	drbdtest.Must(t, a.UpToDate(ctx))
	role(a.B, "standby")
	role(a.A, "active")
	stop()
	writing.Wait()
	drbdtest.Kept(ctx, t, &s, a.A)
	id := strings.Fields(sh(a.B, "kvmha drbd kept | tail -1"))[0]
	if got := sh(a.B, "kvmha drbd kept get "+id+" thesis /run/; cat /run/thesis"); got != "thesis\n" {
		t.Errorf("the loser's file is %q", got)
	}
	if out, err := a.A.Sh(ctx, "kvmha switch varda"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	role(a.B, "active")
	drbdtest.Kept(ctx, t, &s, a.B)
}

// oneServes waits until one of the two has let go: which, is up to who hears the other one first. They have one address between them.
func oneServes(ctx context.Context, a *drbdlab.Agents) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		var roles []string
		for _, g := range []*drbdlab.Guest{a.A, a.B} {
			s, err := a.Status(ctx, g)
			if err != nil {
				return err
			}
			roles = append(roles, s.Groups[0].Role)
		}
		if slices.Sort(roles); slices.Equal(roles, []string{"active", "waiting"}) {
			return nil
		}
	}
}

// TestASideThatChangedNothing was primary by force and wrote nothing: the agents end that split brain by themselves.
func TestASideThatChangedNothing(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "varda2")
	_, err := a.B.Sh(ctx, "kill -9 $(cat /run/kvmha.pid)")
	drbdtest.Must(t, err)
	swallow(t, a, true)
	drbdtest.Must(t, a.A.Until(ctx, "grep -q '\"alone\"' /var/lib/kvmha/right/varda*"))
	_, err = a.A.Sh(ctx, "echo here >/srv/here; sync")
	drbdtest.Must(t, err)
	_, err = a.B.Sh(ctx, "drbdadm primary --force r0; drbdadm secondary r0; dmesg | tail -3")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.Start(ctx, a.B))
	swallow(t, a, false)
	drbdtest.Must(t, a.A.Until(ctx, "dmesg | grep -q 'Split-Brain detected but unresolved'"))
	began := time.Now()
	drbdtest.Must(t, a.UpToDate(ctx))
	t.Logf("by themselves, %v after DRBD had given up", time.Since(began).Round(100*time.Millisecond))
	drbdtest.Must(t, a.Role(ctx, a.A, "active"))
	drbdtest.Must(t, a.Role(ctx, a.B, "standby"))
	if out, err := a.A.Sh(ctx, "cat /srv/here"); err != nil || out != "here\n" {
		t.Errorf("%q, %v", out, err)
	}
}
