package faults

import (
	"strings"
	"testing"

	"kvmctl/test/drbdlab"
)

// TestFaultsOfAHandOver has things in the way of a demote and of a promote. It succeeds, or the group comes back to whom it was taken from.
func TestFaultsOfAHandOver(t *testing.T) {
	s := newScene(t)
	s.fault("somebody holds it in a mount namespace of its own", func(s *scene) {
		s.sh(s.A, "unshare -m sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >/run/holder; until grep -q ' /srv ' /proc/$(cat /run/holder)/mountinfo; do sleep 1; done")
		s.sh(s.A, "kvmha switch varda")
		s.must(s.Role(s.ctx, s.B, "active"))
		s.until(s.A, `grep -q "held a file system that is let go.*process $(cat /run/holder) (sleep) lives in another mount namespace, which has it on /srv (ended)" /var/log/kvmha.log`)
		s.until(s.A, "! { kill -0 $(cat /run/holder); }")
		s.sh(s.B, "kvmha switch varda")
	})
	s.fault("somebody else's mount is where it belongs", func(s *scene) {
		s.sh(s.B, "mount -t tmpfs none /srv")
		s.refused(s.A, 1, "kvmha switch varda", "kvmha: error: cannot switch varda: nobody took it: it comes back here")
		s.says(s.B, "alarm: promote: mount /srv: failed: mount /dev/drbd0 on /srv: tmpfs on none is mounted on /srv")
		s.says(s.B, "to mend it: umount /srv")
		s.mailed(s.B, `"command":"umount /srv"`)
		s.must(s.Role(s.ctx, s.A, "active"))
		s.sh(s.B, "umount /srv")
	})
	s.fault("drbdadm hangs", func(s *scene) {
		s.sh(s.B, "mv /sbin/drbdadm /sbin/real; printf '#!/bin/sh\\nsleep 1000\\n' >/sbin/drbdadm; chmod +x /sbin/drbdadm")
		s.refused(s.A, 1, "kvmha switch varda", "kvmha: error: cannot switch varda: nobody took it: it comes back here")
		s.says(s.B, "alarm: promote: primary r0: timed out: drbd primary r0: the command hangs: given up")
		s.must(s.Role(s.ctx, s.A, "active")) // before the other one is rid of what hangs
		s.says(s.B, "alarm: stuck: secondary r0: failed: drbd secondary r0: the command hangs: given up after 20s")
		s.mailed(s.B, `"subject":"stuck"`)
		if left := s.sh(s.B, "pidof sleep || true"); left != "" {
			s.Errorf("what hung is left: %s", left)
		}
		s.sh(s.B, "mv /sbin/real /sbin/drbdadm")
		s.kill(s.B) // it would try again by itself, less and less often
		s.must(s.Start(s.ctx, s.B))
	})
	s.fault("the file system needs a person", func(s *scene) {
		for _, g := range []*drbdlab.Guest{s.B, s.A} { // nobody is active then
			s.sh(g, "kvmha maintenance on varda")
		}
		s.until(s.A, "kvmha status varda | grep -q 'waiting (maintenance)'")
		s.sh(s.A, "drbdadm primary r0; debugfs -w -R 'ssv state 0' /dev/drbd0; debugfs -w -R 'clri <2>' /dev/drbd0; drbdadm secondary r0; kvmha maintenance off varda")
		s.says(s.A, "alarm: promote: mount /srv: failed: mount /dev/drbd0 on /srv: the file system on /dev/drbd0 needs a person: e2fsck -p /dev/drbd0 ended with 4: ")
		const mend = "kvmha maintenance on varda && drbdadm primary r0 && e2fsck -f /dev/drbd0; drbdadm secondary r0; kvmha maintenance off varda"
		s.says(s.A, "to mend it: "+mend)
		s.mailed(s.A, `"subject":"promote"`)
		if out := s.sh(s.A, "grep ' /srv ' /proc/mounts || true"); out != "" {
			s.Errorf("it is mounted: %s", out)
		}
		s.until(s.A, "kvmha status varda | grep -q 'waiting (cooling down)'")
		s.sh(s.A, strings.Replace(mend, "e2fsck -f /dev/drbd0", "{ e2fsck -fy /dev/drbd0 || [ $? = 1 ]; }", 1)) // and somebody says yes to all it asks
		s.sh(s.B, "kvmha maintenance off varda")
	})
}
