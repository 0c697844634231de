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

// TestInit makes new resources usable on real disks: with nobody's data, with this node's, with the peer's; and refuses what would lose something.
func TestInit(t *testing.T) {
	testenv.Need(t, testenv.E2E)
	ctx := drbdtest.During(t, 6*time.Minute)
	program, err := drbdlab.Binary(ctx, t.TempDir())
	drbdtest.Must(t, err)
	l, err := drbdlab.New(ctx, map[string][]byte{"/bin/kvmha": program})
	drbdtest.Must(t, err)
	defer l.Close()
	sh := func(g *drbdlab.Guest, script string) string {
		t.Helper()
		out, err := g.Sh(ctx, script)
		drbdtest.Must(t, err)
		return out
	}
	says := func(g *drbdlab.Guest, exit int, command string, words ...string) {
		t.Helper()
		out := sh(g, fmt.Sprintf("code=0; %s 2>&1 || code=$?; echo exit $code", command))
		t.Logf("%s$ %s\n%s", g.Name, command, out)
		for _, w := range append(words, fmt.Sprintf("exit %d\n", exit)) {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q", w)
			}
		}
	}
	bare := func(what string) { // as if nothing had ever been on the disks
		t.Helper()
		drbdtest.Must(t, l.Both(func(g *drbdlab.Guest) error {
			_, err := g.Sh(ctx, "drbdadm down r0; dd if=/dev/zero of=/dev/vda bs=1M count=64 conv=fsync 2>/dev/null || true; "+what)
			return err
		}))
	}

	says(l.A, 2, "kvmha drbd init r0 --data none", "cannot read drbd.conf")
	drbdtest.Must(t, l.Configure(ctx, drbdlab.Config{}))
	says(l.A, 2, "kvmha drbd init r9 --data none", "drbd.conf has no resource of that name")
	says(l.A, 3, "kvmha drbd init r0", "whose data", "--data none", "--data here", "--data peer")

	// Nobody's data: a half that waits, killed in the middle; then the other half, and both are good without a copy.
	sh(l.A, "drbdadm create-md --force r0 >/dev/null 2>&1") // a run that was killed right behind it
	says(l.A, 0, "kvmha drbd init r0 --data none", "drbdadm up", "is not connected yet", "kvmha drbd init r0 --data none, on vm-varda")
	says(l.B, 0, "kvmha drbd init r0 --data none", "drbdadm create-md", "new-current-uuid", "r0: it has good data")
	if out := sh(l.A, "dmesg"); !strings.Contains(out, "skip initial sync") || strings.Contains(out, "Began resync") {
		t.Errorf("something was copied:\n%s", out)
	}
	says(l.A, 0, "kvmha drbd init r0 --data none --json", `"done": []`, `"what": "it has good data"`)
	says(l.A, 0, "kvmha drbd status", "r0        Secondary  UpToDate  Connected   Secondary  UpToDate")
	sh(l.A, "drbdadm down r0")
	says(l.A, 0, "kvmha drbd init r0 --data here --yes", "its disks have DRBD's metadata already", "r0: it has good data") // never made anew

	// A file system that stays. One that leaves no room for the metadata is refused by drbdmeta, before it is touched.
	bare("")
	sh(l.A, "mkfs.ext4 -q /dev/vda; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; echo mellon >/mnt/word; umount /mnt")
	says(l.A, 3, "kvmha drbd init r0 --data none", "ext4", "would be lost", "--data here", "--yes")
	says(l.A, 1, "kvmha drbd init r0 --data here", "cannot init r0", "a file system is where its metadata would be: it has 65536 KiB, and 65496 KiB may be left to it")
	sh(l.A, "mount -t ext4 /dev/vda /mnt")
	says(l.A, 3, "kvmha drbd init r0 --data here", "is in use (mounted at /mnt)", "umount /dev/vda")
	if out := sh(l.A, "cat /mnt/word; umount /mnt"); out != "mellon\n" {
		t.Errorf("a refused init changed the disk: %q", out)
	}
	bare("mkfs.ext4 -q /dev/vda 60M; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; uname -n >/mnt/word; umount /mnt")
	says(l.B, 3, "kvmha drbd init r0 --data peer", "ext4", "would be lost")
	says(l.B, 0, "kvmha drbd init r0 --data peer --yes", "kvmha drbd init r0 --data here, on varda2")
	says(l.A, 0, "kvmha drbd init r0 --data here", "primary --force", "drbdadm secondary", "r0: it has good data")
	says(l.B, 0, "kvmha drbd init r0 --data peer")
	drbdtest.Must(t, l.UpToDate(ctx))
	if out := sh(l.B, "drbdadm primary r0; mount -t ext4 /dev/drbd0 /mnt; cat /mnt/word; umount /mnt; drbdadm secondary r0"); out != "varda2\n" {
		t.Errorf("the peer has %q", out)
	}
}
