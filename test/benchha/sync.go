package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// What is copied, and the promise of issue 5.
const (
	syncFiles    = 10_000
	syncDirs     = 100
	syncRuns     = 12
	syncAtMost   = 1.1 // times rsync's time
	syncWithin   = 60 * time.Second
	syncStanding = 30 * time.Second // until the standby knows its source
)

var namesOfSync = []string{"kvmha sync", "rsync -a over ssh"}

// syncs measures, in turn, how long a standby takes to have one changed file of many.
func (b *bench) syncs(ctx context.Context) (err error) {
	c := contender{name: "kvmha", before: pair, start: b.syncing}
	r, err := newRig(ctx, b.dir, cell{}, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.lab.Close()) }()
	a, ours, theirs := tree(r.a), tree(r.b), filepath.Join(r.b.Dir(), "plain")+"/"
	for i := range syncFiles {
		dir := filepath.Join(a, fmt.Sprintf("%02d", i%syncDirs))
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, fmt.Sprintf("zone%d", i)), []byte(strings.Repeat("x", i%400)), 0o644)); err != nil {
			return err
		}
	}
	ssh, err := sshTo(ctx, r.a)
	if err != nil {
		return err
	}
	byKvmha := []string{b.bin, "--root", filepath.Join(r.b.Dir(), "k"), "sync", "zones"}
	byRsync := []string{"rsync", "-a", "-e", ssh, r.a.Addr.String() + ":" + a, theirs}
	within, cancel := context.WithTimeout(ctx, syncStanding)
	defer cancel()
	var last error
	if hatest.Until(within, func() bool { _, last = timed(ctx, r.b, byKvmha); return last == nil }) != nil {
		return fmt.Errorf("the first copy: %w", last)
	}
	if _, err := timed(ctx, r.b, byRsync); err != nil {
		return err
	}
	tables := map[string][2]series{}
	whats := []string{"one file changed", "nothing changed"}
	for run := range 2 * syncRuns {
		what := whats[run%2]
		if run%2 == 0 {
			if err := os.WriteFile(filepath.Join(a, "00/zone0"), fmt.Appendf(nil, "run %d\n", run), 0o644); err != nil {
				return err
			}
		}
		order := [][]string{byKvmha, byRsync}
		if run/2%2 == 1 {
			slices.Reverse(order)
		}
		var took [2]time.Duration
		for _, argv := range order {
			d, err := timed(ctx, r.b, argv)
			if err != nil {
				return err
			}
			took[slices.IndexFunc([][]string{byKvmha, byRsync}, func(x []string) bool { return x[0] == argv[0] })] = d
		}
		t := tables[what]
		t[0], t[1] = append(t[0], took[0]), append(t[1], took[1])
		tables[what] = t
		for _, copied := range []string{ours, theirs} {
			want, err := os.ReadFile(filepath.Join(a, "00/zone0"))
			got, err2 := os.ReadFile(filepath.Join(copied, "00/zone0"))
			if err := errors.Join(err, err2); err != nil || string(got) != string(want) {
				return fmt.Errorf("%s was not copied: %w", copied, err)
			}
		}
	}
	for _, what := range whats {
		t := tables[what]
		ratio := t[0].median().Seconds() / t[1].median().Seconds()
		x := row{what: fmt.Sprintf("%d files, %s", syncFiles, what), figure: fmt.Sprintf("seconds of %d runs; %.2f ×", len(t[0]), ratio),
			values: [4]string{t[0].String(), t[1].String()}}
		if what == whats[0] {
			x.wanted, x.ok = fmt.Sprintf("≤ %.1f ×", syncAtMost), ratio <= syncAtMost
		}
		b.report.syncs = append(b.report.syncs, x)
	}
	return nil
}

// timed runs one program on a node; what was written before is on the disk by then.
func timed(ctx context.Context, n *hatest.Node, argv []string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, syncWithin)
	defer cancel()
	unix.Sync()
	began := time.Now()
	if out, err := n.Command(ctx, argv...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", argv[0], err, strings.TrimSpace(string(out)))
	}
	return time.Since(began), nil
}

func tree(n *hatest.Node) string { return filepath.Join(n.Dir(), "zones") + "/" }

// syncing starts one of two agents that know each other, with a job that runs by hand.
func (b *bench) syncing(r *rig, n *hatest.Node) (*hatest.Process, error) {
	other := r.b
	if n == r.b {
		other = r.a
	}
	if err := os.MkdirAll(tree(n), 0o755); err != nil {
		return nil, err
	}
	return b.agent(n, fmt.Sprintf("node = %q\n[peer.%s]\naddresses = [%q]\n%speer = \"kvmha\"\n[[sync]]\nname = \"zones\"\ngroup = \"web\"\npaths = [%q]\n", n.Name,
		other.Name, other.Addr, group("web", vhid, r.vip, n.Name == "a"), tree(n)))
}

// sshTo starts a server on a node, and gives the client that reaches it as Debian has it, but for the keys.
func sshTo(ctx context.Context, n *hatest.Node) (client string, err error) {
	dir := filepath.Join(n.Dir(), "ssh")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.MkdirAll("/run/sshd", 0o755)); err != nil {
		return "", err
	}
	for _, key := range []string{"host", "user"} {
		if out, err := n.Command(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			return "", fmt.Errorf("make a key: %w: %s", err, out)
		}
	}
	if _, err := n.Start("sshd", "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", filepath.Join(dir, "host"), "-o", "AuthorizedKeysFile="+filepath.Join(dir, "user.pub"),
		"-o", "StrictModes=no", "-o", "PermitRootLogin=prohibit-password", "-o", "PidFile=none", "-o", "ListenAddress="+n.Addr.String()); err != nil {
		return "", err
	}
	client = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=" + filepath.Join(dir, "known") + " -i " + filepath.Join(dir, "user")
	within, cancel := context.WithTimeout(ctx, syncStanding)
	defer cancel()
	var said []byte
	if hatest.Until(within, func() bool {
		said, err = n.Command(ctx, append(strings.Fields(client), n.Addr.String(), "true")...).CombinedOutput()
		return err == nil
	}) != nil {
		return "", fmt.Errorf("reach the sshd: %w: %s", err, said)
	}
	return client, nil
}
