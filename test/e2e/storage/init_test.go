package storage

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// initLab is two guests with kvmha and nothing on their disks; sh runs a script, says one whose words and exit code are known, bare begins anew.
func initLab(ctx context.Context, t *testing.T) (l *drbdlab.Lab, sh func(*drbdlab.Guest, string) string, says func(g *drbdlab.Guest, exit int, command string, words ...string), bare func(string)) {
	t.Helper()
	program, err := drbdlab.Binary(ctx, t.TempDir())
	drbdtest.Must(t, err)
	l, err = drbdlab.New(ctx, map[string][]byte{"/bin/kvmha": program})
	drbdtest.Must(t, err)
	t.Cleanup(l.Close)
	sh = func(g *drbdlab.Guest, script string) string {
		t.Helper()
		out, err := g.Sh(ctx, script)
		drbdtest.Must(t, err)
		return out
	}
	says = func(g *drbdlab.Guest, exit int, command string, words ...string) {
		t.Helper()
		out := sh(g, fmt.Sprintf("code=0; %s 2>&1 || code=$?; echo exit $code", command))
		t.Logf("%s$ %s\n%s", g.Name, command, out)
		for _, w := range append(words, fmt.Sprintf("exit %d\n", exit)) {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q", w)
			}
		}
	}
	bare = func(what string) { // as if nothing had ever been on the disks
		t.Helper()
		drbdtest.Must(t, l.Both(func(g *drbdlab.Guest) error {
			_, err := g.Sh(ctx, "drbdadm down r0; dd if=/dev/zero of=/dev/vda bs=1M count=64 conv=fsync 2>/dev/null || true; "+what)
			return err
		}))
	}
	return l, sh, says, bare
}

// TestInit makes new resources usable on real disks: with nobody's data, with this node's, with the peer's; and refuses what would lose something.
func TestInit(t *testing.T) {
	testenv.Need(t, testenv.E2E)
	ctx := drbdtest.During(t, 6*time.Minute)
	l, sh, says, bare := initLab(ctx, t)
	says(l.A, 2, "kvmha drbd init r0 --data none", "cannot read drbd.conf")
	drbdtest.Must(t, l.Configure(ctx, drbdlab.Config{}))
	says(l.A, 2, "kvmha drbd init r9 --data none", "drbd.conf has no resource of that name")
	says(l.A, 0, "kvmha drbd init r0 --data here --dry-run", "drbdadm create-md --force r0/0", "set-gi r0/0", "drbdadm adjust r0")
	says(l.A, 3, "kvmha drbd init r0", "whose data", "--data none", "--data here", "--data peer")

	// Nobody's data: a half that waits, killed in the middle; then the other half, and both are good without a copy.
	sh(l.A, "drbdadm create-md --force r0 >/dev/null 2>&1") // a run that was killed right behind it
	says(l.A, 0, "kvmha drbd init r0 --data none", "drbdadm adjust", "is not connected yet", "kvmha drbd init r0 --data none, on vm-varda")
	says(l.B, 0, "kvmha drbd init r0 --data none", "drbdadm create-md", "new-current-uuid", "r0: it has good data")
	if out := sh(l.A, "dmesg | grep drbd"); !strings.Contains(out, "skip initial sync") || strings.Contains(out, "Began resync") {
		t.Errorf("something was copied:\n%s", out)
	}
	says(l.A, 0, "kvmha drbd init r0 --data none --json", `"done": []`, `"what": "it has good data"`)
	says(l.A, 0, "kvmha drbd status", "r0        Secondary  UpToDate  Connected   Secondary  UpToDate")
	sh(l.A, "drbdadm down r0")
	says(l.A, 0, "kvmha drbd init r0 --data here --yes", "its disks have DRBD's metadata", "r0: the data here are the good ones") // never made anew

	// A file system that stays. One that leaves no room for the metadata is refused by drbdmeta, before it is touched.
	bare("")
	sh(l.A, "mkfs.ext4 -q /dev/vda; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; echo mellon >/mnt/word; umount /mnt")
	says(l.A, 3, "kvmha drbd init r0 --data none", "ext4", "would be lost", "--data here", "--yes")
	says(l.A, 1, "kvmha drbd init r0 --data here", "cannot init r0", "a file system is where its metadata would be: it has 65536 KiB, and 65496 KiB may be left to it")
	sh(l.A, "mount -t ext4 /dev/vda /mnt")
	says(l.A, 3, "kvmha drbd init r0 --data here", "is in use (mounted at /mnt)", "umount /mnt")
	if out := sh(l.A, "cat /mnt/word; umount /mnt"); out != "mellon\n" {
		t.Errorf("a refused init changed the disk: %q", out)
	}
	bare("mkfs.ext4 -q /dev/vda 60M; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; uname -n >/mnt/word; umount /mnt")
	says(l.B, 3, "kvmha drbd init r0 --data peer", "ext4", "would be lost")
	says(l.B, 0, "kvmha drbd init r0 --data peer --yes", "kvmha drbd init r0 --data here, on varda2")
	says(l.A, 0, "kvmha drbd init r0 --data here", "set-gi", "drbdadm adjust")
	says(l.B, 0, "kvmha drbd init r0 --data peer")
	drbdtest.Must(t, l.UpToDate(ctx))
	if out := sh(l.B, "drbdadm primary r0; mount -t ext4 /dev/drbd0 /mnt; cat /mnt/word; umount /mnt; drbdadm secondary r0"); out != "varda2\n" {
		t.Errorf("the peer has %q", out)
	}
}

// TestInitLosesNothing has what would be lost: data of the peer's that count as good and are copied over those that are to stay, the end of what
// drbdmeta does not know, disks that somebody uses.
func TestInitLosesNothing(t *testing.T) {
	testenv.Need(t, testenv.E2E)
	ctx := drbdtest.During(t, 6*time.Minute)
	l, sh, says, bare := initLab(ctx, t)
	drbdtest.Must(t, l.Configure(ctx, drbdlab.Config{})) // no handler stops a resync
	word := func(device string) string {
		return fmt.Sprintf("mkdir -p /mnt; mount -t ext4 %s /mnt && cat /mnt/word; umount /mnt", device)
	}
	write := "mkfs.ext4 -q -F /dev/vda 60M; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; uname -n >/mnt/word; umount /mnt"

	// A peer whose metadata say that its data, of former times, are good. It waits already when the other one is told that its own stay.
	sh(l.A, "drbdadm create-md --force r0 >/dev/null 2>&1; drbdadm -- --force DEADBEEF00000000:0:0:0:1:1 set-gi r0 >/dev/null 2>&1")
	says(l.A, 3, "kvmha drbd init r0 --data peer", "would be copied to vm-varda", "drbdadm wipe-md r0")
	sh(l.A, "drbdadm up r0")
	sh(l.B, write)
	says(l.B, 0, "kvmha drbd init r0 --data here --dry-run", "set-gi")
	sh(l.B, "drbdadm create-md --force r0 >/dev/null 2>&1") // a run that was killed right behind it
	t.Log(sh(l.B, "kvmha drbd init r0 --data here 2>&1 || true"))
	if err := l.B.Until(drbdtest.During(t, 20*time.Second), "dmesg | grep -q 'Split-Brain detected but unresolved'"); err != nil {
		t.Errorf("%v\n%s", err, sh(l.B, "dmesg | grep drbd | tail -30"))
	}
	says(l.B, 3, "kvmha drbd init r0 --data here", "does not connect to varda2")
	if out := sh(l.B, "drbdadm down r0; "+word("/dev/vda")); out != "vm-varda\n" {
		t.Errorf("the data that were to stay: %q", out)
	}
	// The peer gives in, and gets them; whoever is first.
	says(l.B, 0, "kvmha drbd init r0 --data here", "drbdadm adjust r0")
	sh(l.A, "drbdadm down r0; drbdadm -- --force wipe-md r0 2>/dev/null")
	says(l.A, 0, "kvmha drbd init r0 --data peer")
	drbdtest.Must(t, l.UpToDate(ctx))
	if out := sh(l.A, "drbdadm primary r0; "+word("/dev/drbd0")+"; drbdadm secondary r0"); out != "vm-varda\n" {
		t.Errorf("the peer has %q", out)
	}
	says(l.A, 0, "kvmha drbd init r0 --data peer", "it has good data")

	// Brought up before its disk was made; a file system on the whole disk, given up by word.
	bare("")
	sh(l.A, "mkfs.ext4 -q -F /dev/vda; drbdadm up r0 || true")
	says(l.A, 3, "kvmha drbd init r0 --data none", "ext4", "would be lost")
	says(l.A, 0, "kvmha drbd init r0 --data none --yes", "wipefs --all /dev/vda", "create-md", "is not connected yet")
	says(l.B, 0, "kvmha drbd init r0 --data none", "r0: it has good data")

	// What has an end that nobody knows; and who uses a disk.
	bare("")
	sh(l.A, "printf 'LUKS\\272\\276\\000\\001' | dd of=/dev/vda conv=notrunc 2>/dev/null")
	says(l.A, 3, "kvmha drbd init r0 --data here", "crypto_LUKS on it, whose end cannot be told")
	bare("printf end | dd of=/dev/vda bs=1 seek=67100000 conv=notrunc 2>/dev/null")
	says(l.A, 3, "kvmha drbd init r0 --data here", "where DRBD's metadata belong, is not empty", "--yes")
	sh(l.A, "mkswap /dev/vda >/dev/null; swapon /dev/vda")
	says(l.A, 3, "kvmha drbd init r0 --data peer --yes", "is in use (used as swap)", "swapoff /dev/vda")
	sh(l.A, "swapoff /dev/vda; dd if=/dev/zero of=/dev/vda bs=1M count=1 2>/dev/null; echo 0 65536 linear /dev/vda 0 | dmsetup create held")
	says(l.A, 3, "kvmha drbd init r0 --data none", "is in use (part of dm-0)", "lsblk /dev/dm-0")
	sh(l.A, "dmsetup remove held; sed 's/r0/r1/;s/drbd0/drbd1/;s/7788/7789/;/usage-count/d' /etc/drbd.conf >/etc/more; cat /etc/more >>/etc/drbd.conf; kvmha drbd init r0 --data none")
	says(l.A, 3, "kvmha drbd init r1 --data none --yes", "is in use (part of drbd0)")
	sh(l.B, "sed -i 's/meta-disk internal/meta-disk \\/dev\\/vdb/' /etc/drbd.conf; mkfs.ext4 -q -F /dev/vdb")
	says(l.B, 3, "kvmha drbd init r0 --data here", "its meta-disk /dev/vdb has something on it (ext4)")
}
