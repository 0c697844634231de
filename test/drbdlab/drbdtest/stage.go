// Package drbdtest sets the stage for tests of agents with DRBD in two guests, and fails them.
package drbdtest

import (
	"context"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
)

// Stage is two guests with agents and a file system on r0, active on A. What is said of the files comes
// before they are written, such as (*drbdlab.Agents).WithPDU.
func Stage(ctx context.Context, t *testing.T, tier testenv.Tier, alone string, with ...func(*drbdlab.Agents)) *drbdlab.Agents {
	t.Helper()
	testenv.Need(t, tier)
	a, err := drbdlab.NewAgents(ctx, alone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			a.Both(func(g *drbdlab.Guest) error {
				text, err := g.Sh(context.WithoutCancel(ctx), "tail -40 /var/log/kvmha.log; cat /proc/drbd; kvmha status || true")
				t.Logf("%s: %v\n%s", g.Name, err, text)
				return nil
			})
		}
		a.Close()
	})
	for _, change := range with {
		change(a)
	}
	if alone == "arbiter" {
		Must(t, a.StartWitness(ctx))
	}
	if err := a.Replicate(ctx, drbdlab.Safe); err != nil {
		t.Fatal(err)
	}
	if _, err := a.A.Sh(ctx, "drbdadm primary r0; mkfs.ext4 -q /dev/drbd0; drbdadm secondary r0"); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*drbdlab.Guest{a.A, a.B} {
		if err := a.Begin(ctx, g); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Role(ctx, a.A, "active"); err != nil {
		t.Fatal(err)
	}
	if err := a.Role(ctx, a.B, "standby"); err != nil {
		t.Fatal(err)
	}
	if err := a.A.Until(ctx, "grep -q '\"paired\"' /var/lib/kvmha/right/varda*"); err != nil {
		t.Fatal(err)
	}
	return a
}

// Must fails the test.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// During ends with the test, and after d.
func During(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Kept fails the test if something that was acknowledged is not on the share of a guest.
func Kept(ctx context.Context, t *testing.T, s *drbdlab.Scribe, g *drbdlab.Guest) {
	t.Helper()
	lost, err := s.Lost(ctx, g)
	Must(t, err)
	if len(lost) > 0 {
		t.Errorf("acknowledged and lost on %s: %v", g.Name, lost)
	}
}

// Says gives what an agent says of its group.
func Says(ctx context.Context, t *testing.T, a *drbdlab.Agents, g *drbdlab.Guest) (role, missing, override string) {
	t.Helper()
	s, err := a.Status(ctx, g)
	Must(t, err)
	return s.Groups[0].Role, s.Groups[0].Missing, s.Groups[0].Override
}
