package lint

import (
	"slices"
	"strings"

	"kvmctl/ha/drbd/conf"
)

// policy judges the value of an option.
type policy struct {
	section  conf.Section
	name     string
	values   []string // one of these; "discard-node-*" is a beginning
	severity Severity
	why      string
	better   string
}

const (
	twoPrimaries = "after a split brain with two primaries nothing may choose by itself: measured, the loser stays primary and the two go StandAlone again"
	oneWins      = "after a split brain DRBD throws away what one node has acknowledged, without asking: "
)

// policies are from drbd.conf(5) and from what was measured with DRBD 8.4.11.
var policies = []policy{
	{conf.Net, "after-sb-0pri", []string{"discard-least-changes"}, Danger, oneWins + "the newest small write lost against a larger older one when it was measured", "after-sb-0pri discard-zero-changes;"},
	{conf.Net, "after-sb-0pri", []string{"discard-younger-primary", "discard-older-primary"}, Danger, oneWins + "who was primary first says nothing about whose data matter, and in doubt the least changes go", "after-sb-0pri discard-zero-changes;"},
	{conf.Net, "after-sb-0pri", []string{"discard-local", "discard-remote", "discard-node-*"}, Danger, oneWins + "always the same node's", "after-sb-0pri discard-zero-changes;"},
	{conf.Net, "after-sb-1pri", []string{"discard-secondary"}, Danger, oneWins + "the secondary's, which may have been the active one an hour ago", "after-sb-1pri consensus; beside after-sb-0pri discard-zero-changes;"},
	{conf.Net, "after-sb-1pri", []string{"violently-as0p"}, Danger, "the data change below a mounted file system: it can crash the primary (drbd.conf(5): should not be used)", "after-sb-1pri consensus; beside after-sb-0pri discard-zero-changes;"},
	{conf.Net, "after-sb-1pri", []string{"call-pri-lost-after-sb"}, Warning, "the handler is meant to reboot the node that serves", "after-sb-1pri consensus;"},
	{conf.Net, "after-sb-2pri", []string{"violently-as0p"}, Danger, twoPrimaries + "; the data change below a mounted file system", "after-sb-2pri disconnect;"},
	{conf.Net, "after-sb-2pri", []string{"call-pri-lost-after-sb"}, Warning, "the handler is meant to reboot one of two nodes that serve", "after-sb-2pri disconnect;"},
	{conf.Net, "always-asbp", []string{"yes"}, Warning, "the policies after a split brain are used even where a third set of data was in play", "no always-asbp"},
	{conf.Net, "rr-conflict", []string{"violently"}, Danger, "a resync may overwrite the primary below its mounted file system (drbd.conf(5): it is dangerous)", "rr-conflict disconnect;"},
	{conf.Net, "rr-conflict", []string{"auto-discard"}, Danger, "the last writes before a crash are rolled back without asking", "rr-conflict disconnect;"},
	{conf.Net, "rr-conflict", []string{"call-pri-lost"}, Warning, "the handler is meant to reboot the node that serves", "rr-conflict disconnect;"},
	{conf.Net, "protocol", []string{"A", "a"}, Danger, "a write is acknowledged before the peer has it: at the primary's power cut it is lost", "net { protocol C; }"},
	{conf.Net, "protocol", []string{"B", "b"}, Danger, "a write is acknowledged before the peer has it on disk: after a power cut of both it can be lost", "net { protocol C; }"},
	{conf.Net, "allow-two-primaries", []string{"yes"}, Danger, "two nodes may mount at once what is no cluster file system, and destroy it", "allow-two-primaries no;"},
	{conf.Net, "fencing", []string{"dont-care", "resource-only"}, Danger, "writes go on while the peer is gone, and if it takes over, what was acknowledged here is lost: only resource-and-stonith freezes them first", "fencing resource-and-stonith;"},
	{conf.Net, "discard-my-data", []string{"yes"}, Danger, "at every connect this node offers to throw away what it has: meant for one command after a split brain, not for the file", "no discard-my-data"},
	{conf.Net, "on-congestion", []string{"pull-ahead"}, Danger, "when the link is full writes are acknowledged that only this node has: at its power cut they are lost", "on-congestion block;"},
	{conf.Net, "on-congestion", []string{"disconnect"}, Warning, "a full link parts the two, and the agent has to decide who goes on alone", "on-congestion block;"},
	{conf.Options, "auto-promote", []string{"yes"}, Danger, "whoever opens the device makes this node primary, a mount, a backup, blkid, and no agent is asked", "options { auto-promote no; }"},
	{conf.Disk, "on-io-error", []string{"pass_on"}, Warning, "an error of the disk here reaches the file system, although the peer has the block", "on-io-error detach;"},
	{conf.Disk, "al-updates", []string{"no"}, Warning, "after a crash of the primary all blocks are copied, and so long the other node cannot take over", "al-updates yes;"},
	{conf.Disk, "disk-flushes", []string{"no"}, Warning, "what the disk's cache holds is lost at a power cut, unless a battery keeps it", "disk-flushes yes;"},
	{conf.Disk, "md-flushes", []string{"no"}, Warning, "DRBD's own records may be lost at a power cut, unless a battery keeps the disk's cache", "md-flushes yes;"},
	{conf.Disk, "disk-drain", []string{"no"}, Warning, "writes may reach the two disks in another order", "disk-drain yes;"},
}

// policies judges the options one by one.
func (l *linter) policies() {
	l.options(func(o conf.Option) {
		for _, p := range policies {
			if p.section == o.Section && p.name == o.Name && slices.ContainsFunc(p.values, func(v string) bool {
				begin, open := strings.CutSuffix(v, "*")
				return v == o.Value.Text || open && strings.HasPrefix(o.Value.Text, begin)
			}) {
				l.say(p.severity, o.At, o.Name+" "+o.Value.Text, p.why, p.better)
			}
		}
		if nine, sure := l.nine(); o.Name == "fencing" && sure && nine == (o.Under == "disk") {
			where := "disk"
			if nine {
				where = "net"
			}
			l.say(Warning, o.At, "fencing is an option of "+where, "drbdadm of the DRBD that runs here refuses the file for it (measured with drbd-utils 9.22)", where+" { fencing "+o.Value.Text+"; }")
		}
		if o.Name == "protocol" && o.Under != "" {
			l.say(Note, o.At, "protocol outside of net", "obsolete since 8.4, still understood", "net { protocol "+strings.ToUpper(o.Value.Text)+"; }")
		}
	})
}

// handler of fencing that kvmha is.
const (
	fenceCommand   = "kvmha fence-peer"
	unfenceCommand = "kvmha unfence"
	targetCommand  = "kvmha before-resync"
	splitCommand   = "kvmha split-brain"
	fenceBetter    = `handlers { fence-peer "/usr/local/bin/kvmha fence-peer"; }`
)

// without gives the resources that have no handler of that name, or another program's.
func (l *linter) without(handler, command string) (p places) {
	for _, r := range l.in.Here.Resources {
		if o, ok := l.in.Here.Option(r, conf.Handlers, handler); !ok || !strings.Contains(o.Value.Text, command) {
			p = append(p, r)
		}
	}
	return p
}

// storage tells what is missing for one node to be alone safely.
func (l *linter) storage() {
	in := l.in
	nine, sure := l.nine()
	where := "disk"
	unfence := "after-resync-target"
	if nine {
		where, unfence = "net", "unfence-peer"
	}
	if p := l.lacking(conf.Net, "fencing"); len(p) > 0 {
		l.say(Danger, p.at(), "no fencing policy: "+p.String(), "writes go on while the peer is gone, and if it takes over, what was acknowledged here is lost: only resource-and-stonith freezes them first",
			where+" { fencing resource-and-stonith; }")
	}
	if p := l.lacking(conf.Handlers, "fence-peer"); len(p) > 0 {
		l.say(Warning, p.at(), "no fence-peer handler: "+p.String(), "nobody is asked when the peer is lost: frozen writes stay frozen, and a promotion by hand is not refused", fenceBetter)
	}
	var other places
	for _, r := range in.Here.Resources {
		fence, ok := in.Here.Option(r, conf.Handlers, "fence-peer")
		after, _ := in.Here.Option(r, conf.Handlers, "after-resync-target")
		back, _ := in.Here.Option(r, conf.Handlers, "unfence-peer")
		switch {
		case !ok:
		case !strings.Contains(fence.Value.Text, fenceCommand):
			l.say(Warning, fence.At, "fence-peer is not kvmha", "the agent does not hear that DRBD asks, and another program decides who may be alone", fenceBetter)
		case !strings.Contains(after.Value.Text+back.Value.Text, unfenceCommand):
			other = append(other, r)
		}
	}
	if len(other) > 0 {
		l.say(Warning, other.at(), "no "+unfence+" handler: "+other.String(), "the peer stays marked after it is up to date again", "handlers { "+unfence+` "/usr/local/bin/kvmha unfence"; }`)
	}
	if p := l.without("before-resync-target", targetCommand); len(p) > 0 {
		l.say(Warning, p.at(), "no before-resync-target handler of kvmha's: "+p.String(), "a node that went on alone and is then overwritten may still take itself for the last one that wrote, if the power fails amid that",
			`handlers { before-resync-target "/usr/local/bin/kvmha before-resync"; }`)
	}
	if p := l.without("split-brain", splitCommand); len(p) > 0 {
		l.say(Note, p.at(), "no split-brain handler of kvmha's: "+p.String(), "the agent has to find out by itself why the two stand alone", `handlers { split-brain "/usr/local/bin/kvmha split-brain"; }`)
	}
	if p := l.lacking(conf.Options, "auto-promote"); len(p) > 0 && nine {
		l.say(Danger, p.at(), "auto-promote is not no: "+p.String(), "DRBD 9 promotes by itself unless it is told not to: a mount or a backup makes this node primary, and no agent is asked", "options { auto-promote no; }")
	} else if len(p) > 0 && !sure {
		l.say(Note, p.at(), "auto-promote is not no: "+p.String(), "of no account before DRBD 9, which promotes by itself; no module is loaded that would tell", "with DRBD 9: options { auto-promote no; }")
	}
	if p := l.lacking(conf.Net, "verify-alg"); len(p) > 0 {
		l.say(Note, p.at(), "no verify-alg: "+p.String(), "the two disks cannot be compared while they serve", "net { verify-alg crc32c; }")
	}
}

// secrets tells who could be the peer, or read how.
func (l *linter) secrets() {
	var open, useless places
	for _, r := range l.in.Here.Resources {
		_, secret := l.in.Here.Option(r, conf.Net, "shared-secret")
		alg, has := l.in.Here.Option(r, conf.Net, "cram-hmac-alg")
		switch has = has && alg.Value.Text != ""; {
		case !secret && !has:
			open = append(open, r)
		case secret != has:
			useless = append(useless, r)
		}
	}
	if len(open) > 0 {
		l.say(Warning, open.at(), "no cram-hmac-alg, no shared-secret: "+open.String(), "whoever reaches the port may be the peer", `net { cram-hmac-alg sha256; shared-secret "…"; }`)
	}
	if len(useless) > 0 {
		l.say(Warning, useless.at(), "one of cram-hmac-alg and shared-secret without the other: "+useless.String(), "without both nobody is authenticated", `net { cram-hmac-alg sha256; shared-secret "…"; }`)
	}
	l.options(func(o conf.Option) {
		if o.Section != conf.Net || o.Name != "shared-secret" {
			return
		}
		for _, f := range l.in.Here.Files {
			if f.Name == o.At.File && f.Mode&0o004 != 0 {
				l.say(Warning, o.At, "everybody may read the shared secret", "with it any machine on the network can be the peer", "chmod 600 "+f.Name)
			}
		}
	})
}
