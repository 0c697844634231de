package drbdlab

import (
	"context"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
)

// TestLab replicates, cuts the cable, cuts the power of one, and has it back with its disk.
func TestLab(t *testing.T) {
	testenv.Need(t, testenv.QEMU)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	began := time.Now()
	l, err := New(ctx, map[string][]byte{"/lab/word": []byte("mellon\n")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Logf("booted in %v", time.Since(began))
	if err := l.Replicate(ctx, Config{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("replicates after %v", time.Since(began))
	sh := func(g *Guest, script string) string {
		t.Helper()
		out, err := g.Sh(ctx, script)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	until := func(g *Guest, script string) {
		t.Helper()
		if err := g.Until(ctx, script); err != nil {
			t.Fatal(err)
		}
	}
	if got := sh(l.B, "cat /lab/word; uname -n; cat /sys/module/drbd/version"); got != "mellon\nvm-varda\n8.4.11" {
		t.Errorf("inside: %q", got)
	}
	sh(l.A, "drbdadm primary r0 && mkfs.ext4 -q /dev/drbd0 && mkdir -p /srv && mount -t ext4 /dev/drbd0 /srv && echo kept >/srv/file && umount /srv && drbdadm secondary r0")
	for _, up := range []bool{false, true} {
		if err := l.A.Link(ctx, 1, up); err != nil {
			t.Fatal(err)
		}
		until(l.B, map[bool]string{false: "drbdadm cstate r0 | grep -q WFConnection", true: "drbdadm cstate r0 | grep -q ^Connected"}[up])
	}
	l.A.PowerCut()
	if _, err := l.A.Sh(ctx, "true"); err == nil {
		t.Error("a guest that is off runs programs")
	}
	until(l.B, "drbdadm primary r0")
	if got := sh(l.B, "mkdir -p /srv; mount -t ext4 /dev/drbd0 /srv; cat /srv/file; umount /srv; drbdadm secondary r0"); got != "kept" {
		t.Errorf("the file is %q", got)
	}
	if err := l.A.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Configure(ctx, Config{}); err != nil {
		t.Fatal(err)
	}
	sh(l.A, "drbdadm up r0")
	if err := l.UpToDate(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.B.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	until(l.A, "drbdadm cstate r0 | grep -q WFConnection")
	if err := l.B.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.UpToDate(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("all of it took %v", time.Since(began))
}
