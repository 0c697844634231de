package storage

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// TestTakeoverByAFenceThatIsSilentWaits is the same with a fence that shares the fate of its target: it ends waiting, with the alarm and the command.
func TestTakeoverByAFenceThatIsSilentWaits(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "fence", (*drbdlab.Agents).WithPDU)
	var s drbdlab.Scribe
	go s.On(ctx, a.A)
	drbdtest.Must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	a.A.PowerCut()
	drbdtest.Must(t, a.B.Until(ctx, "[ -e /run/pdu.asked ]"))
	drbdtest.Must(t, a.B.Until(ctx, "kvmha status varda | grep -q 'alarm: nobody-active'"))
	if role, missing, override := drbdtest.Says(ctx, t, a, a.B); role == "active" || !strings.Contains(override, "confirm-dead") {
		t.Errorf("the standby is %s, missing %q, override %q", role, missing, override)
	}
	if out, err := a.B.Sh(ctx, "cat /proc/drbd"); err != nil || strings.Contains(out, "ro:Primary") {
		t.Errorf("%v\n%s", err, out)
	}
	// A person who has looked says so.
	_, err := a.B.Sh(ctx, "kvmha confirm-dead varda varda2 --yes")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.Role(ctx, a.B, "active"))
	drbdtest.Kept(ctx, t, &s, a.B)
}

// TestPartitionUnderWriteLoad has both networks swallow everything while both would write. The active node's writes freeze until it may go on: under a name at once, and
// the other one waits. When the cables are back the standby is resynced, and nothing is lost.
func TestPartitionUnderWriteLoad(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "varda2")
	var s drbdlab.Scribe
	write, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { s.On(write, a.A) })
	drbdtest.Must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	for nic := range 2 {
		drbdtest.Must(t, a.Pass(nic, false))
	}
	drbdtest.Must(t, a.A.Until(ctx, "grep -q '\"alone\"' /var/lib/kvmha/right/varda*"))
	drbdtest.Must(t, a.B.Until(ctx, "kvmha status varda | grep -q 'waiting (right)'"))
	n, err := a.A.Sh(ctx, "wc -l </srv/lines")
	drbdtest.Must(t, err)
	lines, err := strconv.Atoi(strings.TrimSpace(n))
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.A.Until(ctx, fmt.Sprintf("[ $(wc -l </srv/lines) -gt %d ]", lines+20)))
	for nic := range 2 {
		drbdtest.Must(t, a.Pass(nic, true))
	}
	drbdtest.Must(t, a.Role(ctx, a.B, "standby"))
	drbdtest.Must(t, a.UpToDate(ctx))
	stop()
	writing.Wait()
	_, err = a.A.Sh(ctx, "kvmha switch varda")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.Role(ctx, a.B, "active"))
	drbdtest.Kept(ctx, t, &s, a.B)
}

// TestAFrozenPrimaryThatThaws stops the whole primary; its fence kills it, as the host of a guest does for certain, or it thaws before: then it has lost
// nothing, and serves nothing that is not its own any more.
func TestAFrozenPrimaryThatThaws(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "fence", (*drbdlab.Agents).WithPDU)
	var s drbdlab.Scribe
	write, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { s.On(write, a.A) })
	drbdtest.Must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	drbdtest.Must(t, a.A.Freeze(ctx))
	drbdtest.Must(t, a.B.Until(ctx, "[ -e /run/pdu.asked ]")) // and the fence is silent
	drbdtest.Must(t, a.A.Thaw(ctx))
	drbdtest.Must(t, a.Role(ctx, a.A, "active")) // it goes on, or takes it again
	drbdtest.Must(t, a.UpToDate(ctx))
	stop()
	writing.Wait()
	drbdtest.Kept(ctx, t, &s, a.A)
	if out, err := a.B.Sh(ctx, "cat /proc/drbd"); err != nil || strings.Contains(out, "ro:Primary/Primary") || bytes.Contains([]byte(out), []byte("StandAlone")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAFrozenPrimaryThatThawsTooLate stops the whole primary until the arbiter has let the standby go on. What was frozen in it fails when it thaws: it was
// never acknowledged. It lets everything go, and comes back as standby, without a reboot and without a person.
func TestAFrozenPrimaryThatThawsTooLate(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "arbiter")
	var s drbdlab.Scribe
	var writing sync.WaitGroup
	writing.Go(func() { s.On(ctx, a.A) })
	drbdtest.Must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	drbdtest.Must(t, a.A.Freeze(ctx))
	drbdtest.Must(t, a.Role(ctx, a.B, "active"))
	drbdtest.Must(t, a.A.Thaw(ctx))
	writing.Wait() // its writer ends by an error
	write, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	s.On(write, a.B)
	drbdtest.Must(t, a.Role(ctx, a.A, "standby"))
	drbdtest.Must(t, a.UpToDate(ctx))
	drbdtest.Kept(ctx, t, &s, a.B)
	_, err := a.B.Sh(ctx, "kvmha switch varda")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.Role(ctx, a.A, "active"))
	drbdtest.Kept(ctx, t, &s, a.A)
}

// TestFrozenWritesGoOnWhenTheArbiterIsBack cuts the standby's power while the arbiter is away. The writes stand still, which is told; they go on as soon as the
// arbiter says so, although DRBD does not ask again.
func TestFrozenWritesGoOnWhenTheArbiterIsBack(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "arbiter")
	var s drbdlab.Scribe
	write, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { s.On(write, a.A) })
	drbdtest.Must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	a.StopWitness()
	a.B.PowerCut()
	drbdtest.Must(t, a.A.Until(ctx, "kvmha status varda | grep -q 'alarm: frozen'"))
	drbdtest.Must(t, a.A.Until(ctx, "grep -q 'verb=fence-peer.*exit=1' /var/log/kvmha.log"))
	before := s.Acked()
	drbdtest.Must(t, a.StartWitness(ctx))
	for s.Acked() < before+20 {
		drbdtest.Must(t, ctx.Err())
		time.Sleep(50 * time.Millisecond)
	}
	drbdtest.Must(t, a.A.Until(ctx, "! kvmha status varda | grep -q 'alarm: frozen'"))
	drbdtest.Must(t, a.Again(ctx, a.B))
	drbdtest.Must(t, a.Role(ctx, a.B, "standby"))
	drbdtest.Must(t, a.UpToDate(ctx))
	stop()
	writing.Wait()
	drbdtest.Kept(ctx, t, &s, a.A)
}

// TestStaggeredPowerLoss is the seed's own story: the primary goes off, the standby takes over 30 s later, the standby goes off, the primary comes back
// first. It must not serve what is old: it waits, and says for whom.
func TestStaggeredPowerLoss(t *testing.T) {
	ctx := drbdtest.During(t, 4*time.Minute)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "varda2")
	_, err := a.A.Sh(ctx, "echo old >/srv/file; sync")
	drbdtest.Must(t, err)
	a.A.PowerCut()
	drbdtest.Must(t, a.B.Until(ctx, "kvmha status varda | grep -q 'waiting (right)'"))
	_, err = a.B.Sh(ctx, "kvmha confirm-dead varda varda2 --yes")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.Role(ctx, a.B, "active"))
	_, err = a.B.Sh(ctx, "echo new >/srv/file; sync")
	drbdtest.Must(t, err)
	a.B.PowerCut()
	drbdtest.Must(t, a.Again(ctx, a.A))
	drbdtest.Must(t, a.A.Until(ctx, "kvmha status varda | grep -q 'alarm: nobody-active'"))
	if role, missing, _ := drbdtest.Says(ctx, t, a, a.A); role != "waiting" || !strings.Contains(missing, "vm-varda may have gone on alone") {
		t.Errorf("the primary is %s, missing %q", role, missing)
	}
	if out, err := a.A.Sh(ctx, "cat /proc/drbd"); err != nil || strings.Contains(out, "ro:Primary") {
		t.Errorf("%v\n%s", err, out)
	}
	drbdtest.Must(t, a.Again(ctx, a.B))
	drbdtest.Must(t, a.Role(ctx, a.B, "active"))
	out, err := a.B.Sh(ctx, "cat /srv/file")
	if err != nil || out != "new\n" {
		t.Errorf("the file is %q, %v", out, err)
	}
	drbdtest.Must(t, a.Role(ctx, a.A, "standby"))
	drbdtest.Must(t, a.UpToDate(ctx))
}
