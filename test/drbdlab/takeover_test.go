package drbdlab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kvmctl/internal/testenv"
)

// power is a PDU that answers: it cuts the power of victim when asker's agent has asked.
func (a *Agents) power(ctx context.Context, asker, victim *Guest) error {
	if err := asker.Until(ctx, "[ -e /run/pdu.asked ]"); err != nil {
		return err
	}
	victim.PowerCut()
	_, err := asker.Sh(ctx, ": >/run/pdu.off")
	return err
}

// kept fails the test if something that was acknowledged is not on the share of a guest.
func (s *Scribe) kept(ctx context.Context, t *testing.T, g *Guest) {
	t.Helper()
	lost, err := s.Lost(ctx, g)
	must(t, err)
	if len(lost) > 0 {
		t.Errorf("acknowledged and lost on %s: %v", g.Name, lost)
	}
}

// stage is two guests with agents and a file system on r0, active on A.
func stage(ctx context.Context, t *testing.T, alone string, pdus bool) *Agents {
	t.Helper()
	testenv.Need(t, testenv.QEMU)
	a, err := NewAgents(ctx, alone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			a.Both(func(g *Guest) error {
				text, err := g.Sh(context.WithoutCancel(ctx), "tail -40 /var/log/kvmha.log; cat /proc/drbd; kvmha status || true")
				t.Logf("%s: %v\n%s", g.Name, err, text)
				return nil
			})
		}
		a.Close()
	})
	if pdus {
		a.WithPDU()
	}
	if alone == "arbiter" {
		must(t, a.StartWitness(ctx))
	}
	if err := a.Replicate(ctx, Safe); err != nil {
		t.Fatal(err)
	}
	if _, err := a.A.Sh(ctx, "drbdadm primary r0; mkfs.ext4 -q /dev/drbd0; drbdadm secondary r0"); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*Guest{a.A, a.B} {
		if err := a.begin(ctx, g); err != nil {
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

// begin gives a guest all that an agent needs, and starts it.
func (a *Agents) begin(ctx context.Context, g *Guest) error {
	if err := a.Prepare(ctx, g); err != nil {
		return err
	}
	if err := g.Put(ctx, "/bin/pdu", []byte(PDU), 0o755); err != nil {
		return err
	}
	return a.Start(ctx, g)
}

// again boots a guest whose power was cut.
func (a *Agents) again(ctx context.Context, g *Guest) error {
	if err := g.Boot(ctx); err != nil {
		return err
	}
	if err := g.Put(ctx, "/etc/drbd.conf", []byte(Safe.Text()), 0o600); err != nil {
		return err
	}
	return a.begin(ctx, g)
}

// must fails the test.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func during(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// status gives what an agent says of its group.
func (a *Agents) says(ctx context.Context, t *testing.T, g *Guest) (role, missing, override string) {
	t.Helper()
	s, err := a.Status(ctx, g)
	must(t, err)
	return s.Groups[0].Role, s.Groups[0].Missing, s.Groups[0].Override
}

// TestTakeoverByAFenceThatAnswers cuts the power of the primary under write load. Whoever's fence answers goes on, and nothing that was acknowledged is
// lost; the other one comes back as standby, resynced.
func TestTakeoverByAFenceThatAnswers(t *testing.T) {
	ctx := during(t, 4*time.Minute)
	a := stage(ctx, t, "fence", true)
	var s Scribe
	go s.On(ctx, a.A)
	must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	began := time.Now()
	a.A.PowerCut()
	must(t, a.power(ctx, a.B, a.A))
	must(t, a.Role(ctx, a.B, "active"))
	t.Logf("active on the standby %v after the power cut", time.Since(began).Round(time.Millisecond))
	write, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	s.On(write, a.B)
	s.kept(ctx, t, a.B)
	t.Logf("%d lines acknowledged, the first on the standby %v after the power cut", s.Acked(), s.FirstAfter(began).Round(time.Millisecond))
	must(t, a.again(ctx, a.A))
	must(t, a.Role(ctx, a.A, "standby"))
	must(t, a.UpToDate(ctx))
	// And back, as planned.
	_, err := a.B.Sh(ctx, "kvmha switch varda")
	must(t, err)
	must(t, a.Role(ctx, a.A, "active"))
	s.kept(ctx, t, a.A)
}

// TestTakeoverByAFenceThatIsSilentWaits is the same with a fence that shares the fate of its target: it ends waiting, with the alarm and the command.
func TestTakeoverByAFenceThatIsSilentWaits(t *testing.T) {
	ctx := during(t, 4*time.Minute)
	a := stage(ctx, t, "fence", true)
	var s Scribe
	go s.On(ctx, a.A)
	must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	a.A.PowerCut()
	must(t, a.B.Until(ctx, "[ -e /run/pdu.asked ]"))
	must(t, a.B.Until(ctx, "kvmha status varda | grep -q 'alarm: nobody-active'"))
	if role, missing, override := a.says(ctx, t, a.B); role == "active" || !strings.Contains(override, "confirm-dead") {
		t.Errorf("the standby is %s, missing %q, override %q", role, missing, override)
	}
	if out, err := a.B.Sh(ctx, "cat /proc/drbd"); err != nil || strings.Contains(out, "ro:Primary") {
		t.Errorf("%v\n%s", err, out)
	}
	// A person who has looked says so.
	_, err := a.B.Sh(ctx, "kvmha confirm-dead varda varda2 --yes")
	must(t, err)
	must(t, a.Role(ctx, a.B, "active"))
	s.kept(ctx, t, a.B)
}

// TestStaggeredPowerLoss is the seed's own story: the primary goes off, the standby takes over 30 s later, the standby goes off, the primary comes back
// first. It must not serve what is old: it waits, and says for whom.
func TestStaggeredPowerLoss(t *testing.T) {
	ctx := during(t, 4*time.Minute)
	a := stage(ctx, t, "varda2", false)
	_, err := a.A.Sh(ctx, "echo old >/srv/file; sync")
	must(t, err)
	a.A.PowerCut()
	must(t, a.B.Until(ctx, "kvmha status varda | grep -q 'waiting (right)'"))
	_, err = a.B.Sh(ctx, "kvmha confirm-dead varda varda2 --yes")
	must(t, err)
	must(t, a.Role(ctx, a.B, "active"))
	_, err = a.B.Sh(ctx, "echo new >/srv/file; sync")
	must(t, err)
	a.B.PowerCut()
	must(t, a.again(ctx, a.A))
	must(t, a.A.Until(ctx, "kvmha status varda | grep -q 'alarm: nobody-active'"))
	if role, missing, _ := a.says(ctx, t, a.A); role != "waiting" || !strings.Contains(missing, "vm-varda may have gone on alone") {
		t.Errorf("the primary is %s, missing %q", role, missing)
	}
	if out, err := a.A.Sh(ctx, "cat /proc/drbd"); err != nil || strings.Contains(out, "ro:Primary") {
		t.Errorf("%v\n%s", err, out)
	}
	must(t, a.again(ctx, a.B))
	must(t, a.Role(ctx, a.B, "active"))
	out, err := a.B.Sh(ctx, "cat /srv/file")
	if err != nil || out != "new\n" {
		t.Errorf("the file is %q, %v", out, err)
	}
	must(t, a.Role(ctx, a.A, "standby"))
	must(t, a.UpToDate(ctx))
}

// TestStaggeredPowerLossInRandomOrder has the power go and come in orders that nobody thought of. KVMHA_TEST_SEED gives them again.
func TestStaggeredPowerLossInRandomOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KVMHA_TEST_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		must(t, err)
		seed = n
	}
	t.Logf("KVMHA_TEST_SEED=%d", seed)
	ctx := during(t, 8*time.Minute)
	a := stage(ctx, t, "arbiter", false)
	for i := range uint64(4) {
		began := time.Now()
		one, cancel := context.WithTimeout(ctx, 3*time.Minute)
		err := a.Staggered(one, seed+i, a.again, func(format string, args ...any) {
			t.Logf("%d: %5.1fs "+format, append([]any{i, time.Since(began).Seconds()}, args...)...)
		})
		cancel()
		must(t, err)
	}
}

// TestPartitionUnderWriteLoad has both networks swallow everything while both would write. The active node's writes freeze until it may go on: under a name at once, and
// the other one waits. When the cables are back the standby is resynced, and nothing is lost.
func TestPartitionUnderWriteLoad(t *testing.T) {
	ctx := during(t, 4*time.Minute)
	a := stage(ctx, t, "varda2", false)
	var s Scribe
	write, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { s.On(write, a.A) })
	must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	for nic := range 2 {
		must(t, a.Pass(nic, false))
	}
	must(t, a.A.Until(ctx, "grep -q '\"alone\"' /var/lib/kvmha/right/varda*"))
	must(t, a.B.Until(ctx, "kvmha status varda | grep -q 'waiting (right)'"))
	n, err := a.A.Sh(ctx, "wc -l </srv/lines")
	must(t, err)
	lines, err := strconv.Atoi(strings.TrimSpace(n))
	must(t, err)
	must(t, a.A.Until(ctx, fmt.Sprintf("[ $(wc -l </srv/lines) -gt %d ]", lines+20)))
	for nic := range 2 {
		must(t, a.Pass(nic, true))
	}
	must(t, a.Role(ctx, a.B, "standby"))
	must(t, a.UpToDate(ctx))
	stop()
	writing.Wait()
	_, err = a.A.Sh(ctx, "kvmha switch varda")
	must(t, err)
	must(t, a.Role(ctx, a.B, "active"))
	s.kept(ctx, t, a.B)
}

// TestAFrozenPrimaryThatThaws stops the whole primary; its fence kills it, as the host of a guest does for certain, or it thaws before: then it has lost
// nothing, and serves nothing that is not its own any more.
func TestAFrozenPrimaryThatThaws(t *testing.T) {
	ctx := during(t, 4*time.Minute)
	a := stage(ctx, t, "fence", true)
	var s Scribe
	write, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { s.On(write, a.A) })
	must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	must(t, a.A.Freeze(ctx))
	must(t, a.B.Until(ctx, "[ -e /run/pdu.asked ]")) // and the fence is silent
	must(t, a.A.Thaw(ctx))
	must(t, a.Role(ctx, a.A, "active")) // it goes on, or takes it again
	must(t, a.UpToDate(ctx))
	stop()
	writing.Wait()
	s.kept(ctx, t, a.A)
	if out, err := a.B.Sh(ctx, "cat /proc/drbd"); err != nil || strings.Contains(out, "ro:Primary/Primary") || bytes.Contains([]byte(out), []byte("StandAlone")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAFrozenPrimaryThatThawsTooLate stops the whole primary until the arbiter has let the standby go on. What was frozen in it fails when it thaws: it was
// never acknowledged. It lets everything go, and comes back as standby, without a reboot and without a person.
func TestAFrozenPrimaryThatThawsTooLate(t *testing.T) {
	ctx := during(t, 4*time.Minute)
	a := stage(ctx, t, "arbiter", false)
	var s Scribe
	var writing sync.WaitGroup
	writing.Go(func() { s.On(ctx, a.A) })
	must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	must(t, a.A.Freeze(ctx))
	must(t, a.Role(ctx, a.B, "active"))
	must(t, a.A.Thaw(ctx))
	writing.Wait() // its writer ends by an error
	write, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	s.On(write, a.B)
	must(t, a.Role(ctx, a.A, "standby"))
	must(t, a.UpToDate(ctx))
	s.kept(ctx, t, a.B)
	_, err := a.B.Sh(ctx, "kvmha switch varda")
	must(t, err)
	must(t, a.Role(ctx, a.A, "active"))
	s.kept(ctx, t, a.A)
}

// TestFrozenWritesGoOnWhenTheArbiterIsBack cuts the standby's power while the arbiter is away. The writes stand still, which is told; they go on as soon as the
// arbiter says so, although DRBD does not ask again.
func TestFrozenWritesGoOnWhenTheArbiterIsBack(t *testing.T) {
	ctx := during(t, 4*time.Minute)
	a := stage(ctx, t, "arbiter", false)
	var s Scribe
	write, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { s.On(write, a.A) })
	must(t, a.A.Until(ctx, "[ $(wc -l </srv/lines) -gt 20 ]"))
	a.StopWitness()
	a.B.PowerCut()
	must(t, a.A.Until(ctx, "kvmha status varda | grep -q 'alarm: frozen'"))
	must(t, a.A.Until(ctx, "grep -q 'verb=fence-peer.*exit=1' /var/log/kvmha.log"))
	before := s.Acked()
	must(t, a.StartWitness(ctx))
	for s.Acked() < before+20 {
		must(t, ctx.Err())
		time.Sleep(50 * time.Millisecond)
	}
	must(t, a.A.Until(ctx, "! kvmha status varda | grep -q 'alarm: frozen'"))
	must(t, a.again(ctx, a.B))
	must(t, a.Role(ctx, a.B, "standby"))
	must(t, a.UpToDate(ctx))
	stop()
	writing.Wait()
	s.kept(ctx, t, a.A)
}
