package drbdlab_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// TestTakeoverByAFenceThatAnswers cuts the power of the primary under write load. Whoever's fence answers goes on, and nothing that was acknowledged is
// lost; the other one comes back as standby, resynced.
func TestTakeoverByAFenceThatAnswers(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.QEMU, "fence", (*drbdlab.Agents).WithPDU)
	var s drbdlab.Scribe
	go s.On(ctx, a.A)
	drbdtest.Must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	began := time.Now()
	a.A.PowerCut()
	drbdtest.Must(t, a.Power(ctx, a.B, a.A))
	drbdtest.Must(t, a.Role(ctx, a.B, "active"))
	t.Logf("active on the standby %v after the power cut", time.Since(began).Round(time.Millisecond))
	write, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	s.On(write, a.B)
	drbdtest.Kept(ctx, t, &s, a.B)
	t.Logf("%d lines acknowledged, the first on the standby %v after the power cut", s.Acked(), s.FirstAfter(began).Round(time.Millisecond))
	drbdtest.Must(t, a.Again(ctx, a.A))
	drbdtest.Must(t, a.Role(ctx, a.A, "standby"))
	drbdtest.Must(t, a.UpToDate(ctx))
	// And back, as planned.
	_, err := a.B.Sh(ctx, "kvmha switch varda")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.Role(ctx, a.A, "active"))
	drbdtest.Kept(ctx, t, &s, a.A)
}

// TestStaggeredPowerLossInRandomOrder has the power go and come in orders that nobody thought of. KVMHA_TEST_SEED gives them again.
func TestStaggeredPowerLossInRandomOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KVMHA_TEST_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		drbdtest.Must(t, err)
		seed = n
	}
	t.Logf("KVMHA_TEST_SEED=%d", seed)
	ctx := drbdtest.During(t, 8*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.QEMU, "arbiter")
	for i := range uint64(4) {
		began := time.Now()
		one, cancel := context.WithTimeout(ctx, 3*time.Minute)
		err := a.Staggered(one, seed+i, a.Again, func(format string, args ...any) {
			t.Logf("%d: %5.1fs "+format, append([]any{i, time.Since(began).Seconds()}, args...)...)
		})
		cancel()
		drbdtest.Must(t, err)
	}
}
