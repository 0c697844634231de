package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvmctl/test/drbdlab"
)

// contender is one of the programs that are measured against each other.
type contender struct {
	name     string
	dir      string // where r0 is mounted, as the guest's own root sees it
	drbd     drbdlab.Config
	fenced   bool          // it asks a PDU before it goes on
	patience time.Duration // how long it may take to settle
	start    func(context.Context, *stage) error
	ready    func(context.Context, *stage, *drbdlab.Guest) error // beside what can be seen
	move     func(ctx context.Context, s *stage, from *drbdlab.Guest) error
	programs []string // for what they cost
	logs     string   // shows them
}

// contenders in the order of the tables.
func (b *bench) contenders() []*contender {
	all := []*contender{kvmha("kvmha, fence", true), kvmha("kvmha, arbiter", false), keepalived("keepalived 1 s", "1"), keepalived("keepalived 0.1 s", "0.1"), pacemaker()}
	return slices.DeleteFunc(all, func(c *contender) bool { return !strings.HasPrefix(c.name, b.o.who) })
}

func nothing(context.Context, *stage, *drbdlab.Guest) error { return nil }

// bare is what keepalived's users have: DRBD fences nobody.
var bare = drbdlab.Config{Disk: "fencing dont-care; c-plan-ahead 0; resync-rate 30M;", Net: drbdlab.Safe.Net}

// In the scripts the resource follows the address, which keepalived has before it calls them. A resource that is busy is freed and tried again.
const (
	masterScript = `#!/bin/sh
exec >>/var/log/notify.log 2>&1
: >/run/decided
n=0
until drbdadm primary r0; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.1; done
mount -t ext4 /dev/drbd0 /srv
`
	backupScript = `#!/bin/sh
exec >>/var/log/notify.log 2>&1
n=0
while mountpoint -q /srv; do
	umount /srv || fuser -k -m /srv
	n=$((n + 1)); [ $n -lt 100 ] || exit 1
done
drbdadm secondary r0
rm -f /run/decided
`
)

func keepalivedConf(g string, priority int, interval string) string {
	return fmt.Sprintf(`global_defs {
	router_id %s
	script_user root
	vrrp_version 3
	vrrp_garp_master_delay 1
}
vrrp_instance varda {
	state BACKUP
	nopreempt
	interface eth0
	virtual_router_id 201
	priority %d
	advert_int %s
	virtual_ipaddress {
		10.90.0.100/24 dev eth0
	}
	notify_master /etc/keepalived/master
	notify_backup /etc/keepalived/backup
	notify_fault /etc/keepalived/backup
}
`, g, priority, interval)
}

const keepalivedRun = "chroot /deb /usr/sbin/keepalived --vrrp --log-console --dont-fork --pid /run/keepalived.pid --vrrp_pid /run/vrrp.pid"

func keepalived(name, interval string) *contender {
	begin := func(ctx context.Context, g *drbdlab.Guest) error {
		_, err := g.Sh(ctx, "setsid "+keepalivedRun+" </dev/null >>/deb/var/log/keepalived.log 2>&1 &")
		return err
	}
	return &contender{name: name, dir: "/deb/srv", drbd: bare, patience: time.Minute, programs: []string{"keepalived"}, ready: nothing,
		logs: "tail -50 /deb/var/log/keepalived.log /deb/var/log/notify.log",
		start: func(ctx context.Context, s *stage) error {
			for _, g := range []*drbdlab.Guest{s.A, s.B} {
				priority := 150
				if g == s.B {
					priority = 100
				}
				for path, text := range map[string]string{"keepalived.conf": keepalivedConf(g.Name, priority, interval), "master": masterScript, "backup": backupScript} {
					if err := g.Put(ctx, "/deb/etc/keepalived/"+path, []byte(text), 0o755); err != nil {
						return err
					}
				}
				if _, err := g.Sh(ctx, "chmod 644 /deb/etc/keepalived/keepalived.conf"); err != nil {
					return err
				}
				if err := begin(ctx, g); err != nil {
					return err
				}
				if g == s.A { // the other one would be quicker sometimes
					if err := until(ctx, "varda2 is the first", func() bool { return s.facts[s.A].is("mounted") }); err != nil {
						return err
					}
				}
			}
			return nil
		},
		// What a unit with ExecStopPost does; notify_stop is killed with its daemon.
		move: func(ctx context.Context, s *stage, from *drbdlab.Guest) error {
			_, err := from.Sh(ctx, `kill -TERM $(cat /run/keepalived.pid); n=0
while [ -e /run/keepalived.pid ]; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.05; done
chroot /deb /etc/keepalived/backup`)
			if err != nil {
				return err
			}
			return begin(ctx, from)
		},
	}
}

// kvmha is two agents with the right to be alone by a fence that answers, or by an arbiter.
func kvmha(name string, fence bool) *contender {
	return &contender{name: name, dir: "/srv", drbd: drbdlab.Safe, fenced: fence, patience: 2 * time.Minute, programs: []string{"kvmha"},
		logs: "tail -60 /var/log/kvmha.log",
		start: func(ctx context.Context, s *stage) (err error) {
			alone := "arbiter"
			if fence {
				alone = "fence"
			}
			if s.agents, err = drbdlab.AgentsIn(s.Lab, s.b.o.bin, alone); err != nil {
				return err
			}
			if fence {
				s.agents.WithPDU()
			} else if err := s.agents.StartWitness(ctx); err != nil {
				return err
			}
			s.agents.Lines += "preempt = false\n"
			if err := s.Both(func(g *drbdlab.Guest) error { return s.agents.Prepare(ctx, g) }); err != nil {
				return err
			}
			for _, g := range []*drbdlab.Guest{s.A, s.B} {
				if _, err := g.Sh(ctx, "setsid /bin/kvmha tick </dev/null >>/var/log/tick.log 2>&1 &"); err != nil {
					return err
				}
				if err := s.agents.Start(ctx, g); err != nil {
					return err
				}
			}
			return nil
		},
		ready: func(ctx context.Context, s *stage, active *drbdlab.Guest) error {
			if err := s.agents.Role(ctx, active, "active"); err != nil {
				return err
			}
			if err := s.agents.Role(ctx, s.other(active), "standby"); err != nil {
				return err
			}
			for _, g := range []*drbdlab.Guest{s.A, s.B} {
				if err := g.Until(ctx, "grep -q '\"paired\"' /var/lib/kvmha/right/varda*"); err != nil {
					return err
				}
			}
			return nil
		},
		move: func(ctx context.Context, s *stage, from *drbdlab.Guest) error {
			_, err := from.Sh(ctx, "kvmha switch varda")
			return err
		},
	}
}
