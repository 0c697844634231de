package storage

import (
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// TestAVerificationThatIsBrokenOff: whoever waits for it is not told that both sides are the same, although DRBD connects again at once and its states are as
// after a good end; and the next one compares what this one left out.
func TestAVerificationThatIsBrokenOff(t *testing.T) {
	testenv.Need(t, testenv.E2E)
	ctx := drbdtest.During(t, 3*time.Minute)
	a, err := drbdlab.NewAgents(ctx, "varda2") // no agent runs
	drbdtest.Must(t, err)
	defer a.Close()
	drbdtest.Must(t, a.Replicate(ctx, drbdlab.Config{Disk: "c-plan-ahead 0; resync-rate 4M;", Net: "verify-alg crc32c;"}))
	sh := func(g *drbdlab.Guest, script string) string {
		t.Helper()
		out, err := g.Sh(ctx, script)
		drbdtest.Must(t, err)
		t.Logf("%s$ %s\n%s", g.Name, script, out)
		return out
	}
	sh(a.A, "drbdadm primary r0; kvmha drbd verify r0 >/tmp/said 2>&1 & echo $! >/tmp/pid")
	drbdtest.Must(t, a.A.Until(ctx, "grep -q 'verified: *[1-9][0-9]' /proc/drbd"))
	sh(a.A, "drbdadm secondary r0")
	sh(a.B, "drbdadm primary r0; drbdadm secondary r0")
	if state := sh(a.A, "drbdadm primary r0; cat /proc/drbd"); !strings.Contains(state, "cs:VerifyS") {
		t.Errorf("a hand-over, and one back, end a verification: %s", state)
	}
	said := sh(a.A, "drbdadm disconnect r0; drbdadm connect r0; while kill -0 $(cat /tmp/pid) 2>/dev/null; do sleep 0.1; done; cat /tmp/said")
	if !strings.Contains(said, "cannot verify r0: it was broken off") || strings.Contains(said, "are the same") {
		t.Errorf("of one that was broken off it is said: %s", said)
	}
	drbdtest.Must(t, a.UpToDate(ctx))

	// What differs lies in the part that DRBD by itself would leave out now.
	sh(a.B, "dd if=/dev/urandom of=/dev/vda bs=4k seek=10 count=2 conv=notrunc,fsync 2>/dev/null")
	sh(a.A, "sed -i s/4M/30M/ /etc/drbd.conf; drbdadm adjust r0")
	if said := sh(a.A, "kvmha drbd verify r0 2>&1 || [ $? = 1 ]; dmesg | grep 'Starting Online' | tail -1"); !strings.Contains(said, "r0: 8 KiB differ") || !strings.Contains(said, "from sector 0\n") {
		t.Errorf("the next one says: %s", said)
	}

	// Nobody is primary: to connect again mends nothing, and status does not say so.
	sh(a.A, "drbdadm secondary r0; drbdadm disconnect r0; drbdadm connect r0")
	drbdtest.Must(t, a.UpToDate(ctx))
	if said := sh(a.A, "kvmha drbd status || [ $? = 1 ]"); !strings.Contains(said, "to mend it: drbdadm invalidate-remote r0, where the data stay") {
		t.Errorf("status says: %s", said)
	}
	sh(a.A, "drbdadm invalidate-remote r0")
	drbdtest.Must(t, a.UpToDate(ctx))
	sh(a.A, "kvmha drbd verify && kvmha drbd status")
}
