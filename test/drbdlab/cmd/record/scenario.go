package main

import (
	"context"

	"kvmctl/test/drbdlab"
)

// scenario is a state, and the way there. The next one begins where it ends; the resource is r0.
type scenario struct {
	name, about string
	before      func(context.Context, *drbdlab.Lab) error // not in the stream of events
	do          func(context.Context, *drbdlab.Lab) error
	after       func(context.Context, *drbdlab.Lab) error
}

// act is a script for A, one for B, and what has to hold then, at each.
type act struct{ a, b, holdsA, holdsB string }

func acts(list ...act) func(context.Context, *drbdlab.Lab) error {
	return func(ctx context.Context, l *drbdlab.Lab) error {
		for _, x := range list {
			if _, err := l.A.Sh(ctx, x.a); err != nil {
				return err
			}
			if _, err := l.B.Sh(ctx, x.b); err != nil {
				return err
			}
			if err := l.A.Until(ctx, holds(x.holdsA)); err != nil {
				return err
			}
			if err := l.B.Until(ctx, holds(x.holdsB)); err != nil {
				return err
			}
		}
		return nil
	}
}

// holds is a script that asks whether /proc/drbd has some text.
func holds(text string) string {
	if text == "" {
		return "true"
	}
	return "grep -q '" + text + "' /proc/drbd"
}

func link(up bool) func(context.Context, *drbdlab.Lab) error {
	return func(ctx context.Context, l *drbdlab.Lab) error { return l.A.Link(ctx, 1, up) }
}

func configure(c drbdlab.Config) func(context.Context, *drbdlab.Lab) error {
	return func(ctx context.Context, l *drbdlab.Lab) error { return l.Configure(ctx, c) }
}

func then(steps ...func(context.Context, *drbdlab.Lab) error) func(context.Context, *drbdlab.Lab) error {
	return func(ctx context.Context, l *drbdlab.Lab) error {
		for _, step := range steps {
			if err := step(ctx, l); err != nil {
				return err
			}
		}
		return nil
	}
}

const (
	up        = "drbdadm up r0"
	create    = "echo yes | drbdadm create-md --force r0 >/dev/null 2>&1; " + up
	allGood   = "cs:Connected .*ds:UpToDate/UpToDate"
	write     = "drbdadm primary r0; dd if=/dev/urandom of=/dev/drbd0 bs=1M count=8 conv=fsync 2>/dev/null; drbdadm secondary r0"
	slow      = "c-plan-ahead 0; resync-rate 200k;"
	fast      = "drbdsetup disk-options 0 --resync-rate=100M --c-plan-ahead=0"
	slowly    = "drbdsetup disk-options 0 --resync-rate=200k --c-plan-ahead=0"
	reconnect = "drbdadm disconnect r0; drbdadm connect r0"
)

var plain = drbdlab.Config{Disk: slow, Net: "verify-alg sha1;"}

// fenced freezes the writer that lost its peer, and nobody can say that the peer is gone.
var fenced = drbdlab.Config{Disk: slow + " fencing resource-and-stonith;", Net: "verify-alg sha1;", Handlers: `fence-peer "/bin/false";`}

var scenarios = []scenario{
	{name: "not-configured", about: "The module is there, and no resource.", before: configure(plain), do: acts()},
	{name: "inconsistent", about: "Both have new metadata, and are connected: nobody has said which data are good.",
		do: acts(act{create, create, "cs:Connected", "cs:Connected"})},
	{name: "connected", about: "Connected, both UpToDate, both Secondary.",
		do: acts(act{a: "drbdadm new-current-uuid --clear-bitmap r0/0", holdsA: allGood, holdsB: allGood})},
	{name: "primary", about: "varda2 is Primary.",
		do: acts(act{a: "drbdadm primary r0", holdsA: "ro:Primary/Secondary", holdsB: "ro:Secondary/Primary"})},
	{name: "verify", about: "An online verification that varda2 asked for.",
		do:    acts(act{a: "drbdadm verify r0", holdsA: "cs:VerifyS", holdsB: "cs:VerifyT"}),
		after: acts(act{a: reconnect, holdsA: allGood, holdsB: allGood})},
	{name: "link-cut", about: "The cable between a Primary and a Secondary is out.",
		do:    then(link(false), acts(act{holdsA: "cs:WFConnection", holdsB: "cs:WFConnection"})),
		after: then(link(true), acts(act{holdsA: allGood, holdsB: allGood}))},
	{name: "diskless", about: "vm-varda's disk was taken away.",
		do:    acts(act{b: "drbdadm detach r0", holdsA: "ds:UpToDate/Diskless", holdsB: "ds:Diskless/UpToDate"}),
		after: acts(act{b: "drbdadm attach r0", holdsA: allGood, holdsB: allGood})},
	{name: "disconnected", about: "An admin disconnected vm-varda.",
		do: acts(act{b: "drbdadm disconnect r0", holdsA: "cs:WFConnection", holdsB: "cs:StandAlone"})},
	{name: "outdated", about: "vm-varda is disconnected and was outdated.",
		do: acts(act{b: "drbdadm outdate r0", holdsB: "ds:Outdated"})},
	{name: "resync", about: "vm-varda catches up with 8 MiB, slowly.",
		before: acts(act{a: "dd if=/dev/urandom of=/dev/drbd0 bs=1M count=8 conv=fsync 2>/dev/null"}),
		do:     acts(act{b: "drbdadm connect r0", holdsA: "cs:SyncSource", holdsB: "cs:SyncTarget"})},
	{name: "resync-paused", about: "The resync was paused at the target.",
		do: acts(act{b: "drbdadm pause-sync r0", holdsA: "cs:PausedSyncS", holdsB: "cs:PausedSyncT"})},
	{name: "resync-link-cut", about: "The cable was pulled during a resync.",
		before: acts(act{b: "drbdadm resume-sync r0", holdsA: "cs:SyncSource", holdsB: "cs:SyncTarget"}),
		do:     then(link(false), acts(act{holdsA: "cs:WFConnection", holdsB: "cs:WFConnection"})),
		after:  then(link(true), acts(act{holdsA: "cs:SyncSource", holdsB: "cs:SyncTarget"}))},
	{name: "resync-ends", about: "A resync that is let run fast comes to its end.",
		do: acts(act{a: fast, b: fast, holdsA: allGood, holdsB: allGood})},
	{name: "wrong-secret", about: "vm-varda has another shared secret than varda2.",
		before: acts(act{b: "drbdadm disconnect r0; sed -i 's/\"lab\"/\"moria\"/' /etc/drbd.conf", holdsA: "cs:WFConnection"}),
		do:     acts(act{b: "drbdadm connect r0", holdsA: "cs:StandAlone", holdsB: "cs:StandAlone"}),
		after: then(configure(plain), acts(act{a: "drbdadm connect r0", b: "drbdadm connect r0", holdsA: allGood, holdsB: allGood},
			act{a: "drbdadm secondary r0", holdsB: "ro:Secondary/Secondary"}))},
	{name: "split-brain", about: "Each was Primary alone and wrote; then they met.",
		before: acts(act{a: "drbdadm disconnect r0", b: "drbdadm disconnect r0", holdsA: "cs:StandAlone", holdsB: "cs:StandAlone"}, act{a: write, b: write}),
		do:     acts(act{a: "drbdadm connect r0", b: "drbdadm connect r0"}, act{holdsA: "cs:StandAlone", holdsB: "cs:StandAlone"})},
	{name: "split-brain-resolved", about: "vm-varda gave its data up, and catches up.",
		before: acts(act{a: slowly, b: slowly}),
		do:     acts(act{b: "drbdadm connect --discard-my-data r0"}, act{a: "drbdadm connect r0", holdsA: "cs:SyncSource", holdsB: "cs:SyncTarget"}),
		after:  acts(act{a: fast, b: fast, holdsA: allGood, holdsB: allGood})},
	{name: "suspended", about: "Under resource-and-stonith the Primary lost its peer, and the fence handler did not answer: writes stand still.",
		before: then(configure(fenced), acts(act{a: "drbdadm adjust r0; drbdadm primary r0", b: "drbdadm adjust r0", holdsA: "ro:Primary"})),
		do:     then(link(false), acts(act{holdsA: " s.....$", holdsB: "cs:WFConnection"})),
		after: then(link(true), acts(act{holdsA: "cs:Connected", holdsB: "cs:Connected"},
			act{a: "drbdadm resume-io r0", holdsA: "UpToDate C r-----"}))},
	{name: "another-protocol", about: "At vm-varda's address answers somebody who speaks other versions of the protocol.",
		before: then(configure(plain), acts(act{a: "drbdadm adjust r0; drbdadm disconnect r0", b: "drbdadm down r0; /lab/oddpeer 10.91.0.2:7788 >/dev/null 2>&1 &"})),
		do:     acts(act{a: "drbdadm connect r0"}, act{a: "until dmesg | grep -q 'conn( Disconnecting -> StandAlone )'; do usleep 50000; done", holdsA: "cs:StandAlone"}),
		after:  acts(act{b: "killall oddpeer; drbdadm up r0", a: "drbdadm connect r0", holdsA: allGood, holdsB: allGood})},
	{name: "many", about: "Two resources; r1 has two volumes, and vm-varda lacks the disk of the second.",
		before: then(configure(plain), acts(act{a: "drbdadm adjust r0; drbdadm secondary r0", b: "drbdadm adjust r0", holdsA: allGood}), second),
		do: acts(act{a: "drbdadm up r1", b: "drbdadm up r1", holdsA: "1: cs:Connected", holdsB: "2: cs:Connected"},
			act{a: "drbdadm new-current-uuid --clear-bitmap r1/0; drbdadm new-current-uuid --clear-bitmap r1/1; drbdadm primary r1", holdsB: "2: cs:Connected ro:Secondary/Primary"},
			act{b: "drbdadm detach r1/1", holdsA: "ds:UpToDate/Diskless"})},
	{name: "down", about: "Both take their resources down.",
		do: acts(act{a: "drbdadm secondary r1; drbdadm down all"}, act{b: "drbdadm down all"})},
	{name: "module-missing", about: "The module is gone, and its file too.",
		before: acts(act{a: "rmmod drbd; rm /lib/modules/drbd.ko", b: "rmmod drbd; rm /lib/modules/drbd.ko"}), do: acts()},
}

// second configures r1, on files.
func second(ctx context.Context, l *drbdlab.Lab) error {
	const r1 = `
resource r1 {
	net { protocol C; }
	volume 0 { device /dev/drbd1; disk /dev/loop0; meta-disk internal; }
	volume 1 { device /dev/drbd2; disk /dev/loop1; meta-disk internal; }
	on varda2 { address 10.91.0.1:7789; }
	on vm-varda { address 10.91.0.2:7789; }
}
`
	return l.Both(func(g *drbdlab.Guest) error {
		_, err := g.Sh(ctx, "cat >>/etc/drbd.conf <<'E'"+r1+"E\n"+
			"for n in 0 1; do truncate -s 4M /run/disk$n; losetup /dev/loop$n /run/disk$n; done; echo yes | drbdadm create-md --force r1 >/dev/null 2>&1")
		return err
	})
}
