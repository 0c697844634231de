package main

import (
	"context"
	_ "embed"
	"time"

	"kvmctl/test/drbdlab"
)

//go:embed cib.xml
var cib string

//go:embed corosync.conf
var corosync string

// clusterFencing is DRBD's own advice for 8.4 under Pacemaker: writes freeze until the cluster has put a constraint that keeps the peer from being promoted.
// The kernel calls handlers in the guest's root, the cluster's programs are in Debian's.
var clusterFencing = drbdlab.Config{
	Disk:     "fencing resource-and-stonith; c-plan-ahead 0; resync-rate 30M;",
	Handlers: `fence-peer "/bin/inside /usr/lib/drbd/crm-fence-peer.sh"; after-resync-target "/bin/inside /usr/lib/drbd/crm-unfence-peer.sh";`,
	Net:      drbdlab.Safe.Net,
}

const (
	insideScript = "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec chroot /deb \"$@\" >>/var/log/handlers.log 2>&1\n"
	startCluster = `cd /deb/var/lib/pacemaker/cib && rm -rf ./* && cp /deb/etc/corosync/cib.xml cib.xml
chroot /deb chown hacluster:haclient /var/lib/pacemaker/cib/cib.xml
chmod 600 cib.xml
mkdir -p /var/log
setsid chroot /deb /usr/sbin/corosync -f </dev/null >>/var/log/corosync.out 2>&1 &
n=0
until chroot /deb corosync-quorumtool -s >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 50 ] || exit 1; sleep 0.2; done
setsid chroot /deb /usr/bin/env PCMK_logfile=/var/log/pacemaker.log PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/sbin/pacemakerd -f </dev/null >>/var/log/pacemaker.out 2>&1 &
`
)

func pacemaker() *contender {
	return &contender{name: "Pacemaker", dir: "/deb/srv", drbd: clusterFencing, fenced: true, patience: 4 * time.Minute,
		programs: []string{"corosync", "pacemakerd", "pacemaker-based", "pacemaker-fenced", "pacemaker-execd", "pacemaker-attrd", "pacemaker-schedulerd", "pacemaker-controld"},
		logs:     "chroot /deb crm_mon -1rA; grep -v info /deb/var/log/pacemaker.log | tail -60; tail -20 /var/log/handlers.log",
		start: func(ctx context.Context, s *stage) error {
			return s.Both(func(g *drbdlab.Guest) error {
				for path, text := range map[string]string{"/deb/etc/corosync/corosync.conf": corosync, "/deb/etc/corosync/cib.xml": cib} {
					if err := g.Put(ctx, path, []byte(text), 0o644); err != nil {
						return err
					}
				}
				if err := g.Put(ctx, "/bin/inside", []byte(insideScript), 0o755); err != nil {
					return err
				}
				_, err := g.Sh(ctx, startCluster)
				return err
			})
		},
		ready: func(ctx context.Context, s *stage, active *drbdlab.Guest) error {
			if _, err := active.Sh(ctx, "chroot /deb crm_resource --resource drbd-clone --clear 2>&1"); err != nil { // of a move before
				return err
			}
			return active.Until(ctx, "chroot /deb crm_mon -1r | grep -q 'Unpromoted: \\[ "+s.other(active).Name+" \\]'")
		},
		move: func(ctx context.Context, s *stage, from *drbdlab.Guest) error {
			_, err := from.Sh(ctx, "chroot /deb crm_resource --resource drbd-clone --move --promoted --node "+s.other(from).Name+" 2>&1")
			return err
		},
	}
}
