package storage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// TestStatusAndVerify: what people are shown of DRBD, with and without an agent; both sides are compared, by hand and by the clock; blocks that somebody changed
// beneath DRBD are found, counted, and overwritten by what the primary has.
func TestStatusAndVerify(t *testing.T) {
	ctx := drbdtest.During(t, 8*time.Minute)
	soon := time.Now().UTC().Add(150 * time.Second)
	a := drbdtest.Stage(ctx, t, testenv.E2E, "varda2", func(a *drbdlab.Agents) { a.Lines = fmt.Sprintf("verify = \"%02d:%02d\"\n", soon.Hour(), soon.Minute()) })
	says := func(g *drbdlab.Guest, exit int, command string, words ...string) {
		t.Helper()
		out, err := g.Sh(ctx, fmt.Sprintf("%s 2>&1 || [ $? = %d ]; echo", command, exit))
		if exit == 0 {
			out, err = g.Sh(ctx, command+" 2>&1")
		}
		drbdtest.Must(t, err)
		t.Logf("%s$ %s\n%s", g.Name, command, out)
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q", w)
			}
		}
	}
	says(a.A, 0, "kvmha drbd status", "r0        Primary  UpToDate  Connected   Secondary  UpToDate")
	says(a.A, 2, "kvmha drbd status r1", "cannot show r1", "kvmha drbd status")
	says(a.A, 3, "kvmha drbd verify r0", "cannot verify r0", "verify-alg")
	for _, g := range []*drbdlab.Guest{a.A, a.B} {
		_, err := g.Sh(ctx, "sed -i 's/cram-hmac-alg sha1;/& verify-alg crc32c;/' /etc/drbd.conf; drbdadm adjust r0")
		drbdtest.Must(t, err)
	}
	drbdtest.Must(t, a.UpToDate(ctx))
	says(a.A, 0, "kvmha drbd verify r0", "r0: both sides are the same")

	// Two blocks of the standby's disk change beneath DRBD.
	_, err := a.B.Sh(ctx, "dd if=/dev/urandom of=/dev/vda bs=4k seek=9000 count=2 conv=notrunc,fsync 2>/dev/null")
	drbdtest.Must(t, err)
	says(a.A, 1, "kvmha drbd verify r0", "r0: 8 KiB differ", "drbdadm disconnect r0 && drbdadm connect r0")
	says(a.B, 1, "kvmha drbd status r0", "8 KiB differ")
	drbdtest.Must(t, a.A.Until(ctx, "grep -q 'msg=verified.*resource=r0 differs_kib=8' /var/log/kvmha.log"))
	drbdtest.Must(t, a.A.Until(ctx, "grep -q 'subject=verify.*8 KiB differ' /var/log/kvmha.log"))
	_, err = a.A.Sh(ctx, "drbdadm disconnect r0 && drbdadm connect r0")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.UpToDate(ctx))
	says(a.A, 0, "kvmha drbd verify r0", "r0: both sides are the same")
	if out, err := a.B.Sh(ctx, "grep -c verified /var/log/kvmha.log || true"); err != nil || strings.TrimSpace(out) != "0" {
		t.Errorf("the standby's agent verified, too: %s %v", out, err)
	}

	// Without an agent, and without the peer.
	_, err = a.B.Sh(ctx, "kill -9 $(cat /run/kvmha.pid)")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.A.Link(ctx, 1, false))
	drbdtest.Must(t, a.B.Until(ctx, "drbdadm cstate r0 | grep -q WFConnection"))
	says(a.B, 1, "kvmha drbd status", "r0: the peer does not answer")
	says(a.B, 3, "kvmha drbd verify r0", "cannot verify r0: the peer does not answer")
	_, err = a.A.Sh(ctx, "dd if=/dev/zero of=/srv/big bs=64k count=500 conv=fsync 2>/dev/null")
	drbdtest.Must(t, err)
	drbdtest.Must(t, a.A.Link(ctx, 1, true))
	drbdtest.Must(t, a.B.Until(ctx, "kvmha drbd status r0 | grep -q 'resync to here \\[=*'"))
	says(a.B, 1, "kvmha drbd status r0")
	drbdtest.Must(t, a.UpToDate(ctx))
	says(a.B, 0, "kvmha drbd status r0 --json", `"resource": "r0"`, `"out_of_sync_kib": 0`)
	_, err = a.B.Sh(ctx, "drbdadm down r0")
	drbdtest.Must(t, err)
	says(a.B, 1, "kvmha drbd status", "r0: drbd.conf has it, and it is not up", "to mend it: drbdadm up r0")
}
