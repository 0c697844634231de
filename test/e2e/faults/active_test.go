package faults

import (
	"sync"
	"testing"
	"time"
)

// TestFaultsOfTheActiveNode has disks fail and fill up where it serves.
func TestFaultsOfTheActiveNode(t *testing.T) {
	s := newScene(t)
	s.fault("drbd-utils are missing", func(s *scene) {
		s.sh(s.A, "mkdir -p /run/away; mv /sbin/drbd* /run/away/; killall -9 drbdsetup-84 || true")
		s.says(s.A, "alarm: disk: resource r0 has failed: DRBD cannot be asked: drbd watch: drbd-utils are missing")
		s.mailed(s.A, "it stays active here: ")
		s.refused(s.A, 3, "kvmha switch varda", "kvmha: error: cannot switch varda: resource r0 has failed: DRBD cannot be asked: drbd watch: drbd-utils are missing")
		s.sh(s.A, "echo x >/srv/x; sync")
		s.must(s.Role(s.ctx, s.A, "active"))
		s.sh(s.A, "mv /run/away/* /sbin/")
		s.until(s.A, "! { kvmha status varda | grep -q 'to mend it'; }")
	})
	s.fault("the handler is called twice at once", func(s *scene) {
		s.must(s.A.Link(s.ctx, 1, false))
		s.until(s.A, "! { grep -q cs:Connected /proc/drbd; }")
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if out, err := s.A.Sh(s.ctx, "code=0; DRBD_RESOURCE=r0 kvmha fence-peer || code=$?; echo $code"); err != nil || out != "4\n" && out != "7\n" {
					s.Errorf("it ended with %q, %v", out, err)
				}
			})
		}
		both.Wait()
		if n := s.sh(s.A, "grep -c 'to=.alone 1' /var/log/kvmha.log || true"); n != "1\n" {
			s.Errorf("it was written down %s times that the node goes on alone", n)
		}
		s.must(s.A.Link(s.ctx, 1, true))
	})
	s.fault("the share is full", func(s *scene) {
		s.refused(s.A, 1, "dd if=/dev/zero of=/srv/big bs=64k", "No space left on device")
		s.refused(s.A, 1, "dd if=/dev/zero of=/srv/more bs=64k count=1", "No space left on device")
		time.Sleep(5 * time.Second) // nothing comes of it
		s.must(s.Role(s.ctx, s.A, "active"))
		s.sh(s.A, "! { kvmha status varda | grep 'alarm:'; }; rm -f /srv/big /srv/more")
	})
	s.fault("the agent's own disk is full", func(s *scene) {
		s.sh(s.A, "for n in 1 2 3 4; do dd if=/dev/zero of=/var/lib/kvmha/big$n bs=$((4096 / n)) 2>/dev/null || true; done; ! echo x >/var/lib/kvmha/more")
		s.kill(s.B)
		s.must(s.A.Link(s.ctx, 1, false))
		// What has to be on the disk before anybody writes alone cannot be: the writes stand still.
		s.says(s.A, "alarm: frozen: writes to resource r0 stand still: that this node goes on alone has to be written down first: ")
		s.says(s.A, "no space left on device")
		s.mailed(s.A, `"subject":"frozen"`) // it waits in memory
		s.sh(s.A, "rm /var/lib/kvmha/big* /var/lib/kvmha/more")
		s.until(s.A, "! { grep -q 's-----' /proc/drbd; }")
		s.sh(s.A, "echo y >/srv/x; sync")
		s.must(s.Start(s.ctx, s.B))
		s.must(s.A.Link(s.ctx, 1, true))
	})
	s.fault("the disk below DRBD has errors", func(s *scene) {
		for _, g := range s.guests() {
			s.sh(g, "sed -i '/on vm-varda/s,/dev/vda,/dev/dm-0,' /etc/drbd.conf")
		}
		s.sh(s.B, "drbdadm down r0; dmsetup create srv --table \"0 $(cat /sys/block/vda/size) linear /dev/vda 0\"; drbdadm adjust r0")
		s.pair()
		s.sh(s.A, "kvmha switch varda")
		s.must(s.Role(s.ctx, s.B, "active"))
		disk := func(table string) {
			s.sh(s.B, "dmsetup suspend --nolockfs --noflush srv; dmsetup load srv --table \"0 $(cat /sys/block/vda/size) "+table+"\"; dmsetup resume srv")
		}
		disk("error")
		s.sh(s.B, "echo z >/srv/x; sync") // on the peer's disk
		s.must(s.Role(s.ctx, s.A, "active"))
		if out := s.sh(s.A, "cat /srv/x"); out != "z\n" {
			s.Errorf("the peer has %q", out)
		}
		s.says(s.B, "alarm: disk: resource r0 has failed: ")
		s.mailed(s.B, "the role is given away")
		disk("linear /dev/vda 0")
	})
}
