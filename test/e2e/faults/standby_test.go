package faults

import "testing"

// TestFaultsOfTheStandby has whatever DRBD needs go wrong on the node that stands by: it waits, says why and mails it; the active one goes on, and refuses to
// hand over.
func TestFaultsOfTheStandby(t *testing.T) {
	s := newScene(t)
	failed := func(s *scene, why string) {
		s.Helper()
		s.says(s.B, "alarm: disk: resource r0 has failed: "+why)
		s.mailed(s.B, `"subject":"disk"`)
		s.refused(s.A, 3, "kvmha switch varda", "kvmha: error: cannot switch varda: the peer is worse: it is waiting (disk)")
		s.must(s.Role(s.ctx, s.A, "active"))
	}
	s.fault("drbd-utils are missing", func(s *scene) {
		s.sh(s.B, "mkdir -p /run/away; mv /sbin/drbd* /run/away/; killall -9 drbdsetup-84 || true")
		failed(s, "DRBD cannot be asked: drbd watch: drbd-utils are missing")
		s.mailed(s.B, "drbd-utils are missing")
		s.sh(s.B, "mv /run/away/* /sbin/")
	})
	s.fault("the module is missing", func(s *scene) {
		s.kill(s.B)
		s.sh(s.B, "drbdadm down r0; rmmod drbd; mv /lib/modules/drbd.ko /run/")
		s.must(s.Start(s.ctx, s.B))
		failed(s, "DRBD cannot be asked: drbd watch: the kernel module drbd is missing")
		s.mailed(s.B, "the kernel module drbd is missing")
		s.sh(s.B, "mv /run/drbd.ko /lib/modules/; insmod /lib/modules/drbd.ko")
	})
	s.fault("the resource is not configured", func(s *scene) {
		s.sh(s.B, "drbdadm down r0; mv /etc/drbd.conf /run/; sed 's/resource r0/resource r1/' /run/drbd.conf >/etc/drbd.conf")
		failed(s, "DRBD does not know it: drbd adjust r0: the resource is not in drbd.conf for this host")
		const why = `storage is not safe here: /etc/kvmha.toml: group "varda" has resource r0, and drbd.conf has not`
		s.refused(s.B, 3, "kvmha reload", "kvmha: error: cannot reload: "+why, "hint: kvmha drbd lint")
		s.kill(s.B)
		s.refused(s.B, 2, "kvmha run", why)
		s.sh(s.B, "mv /run/drbd.conf /etc/drbd.conf")
		s.must(s.Start(s.ctx, s.B))
	})
	s.fault("the metadata are garbage", func(s *scene) {
		s.sh(s.B, "drbdadm down r0; dd if=/dev/vda of=/run/meta bs=1M skip=60 count=4 2>/dev/null; dd if=/dev/urandom of=/dev/vda bs=1M seek=60 count=4 2>/dev/null")
		failed(s, "Diskless: drbd adjust r0: no valid metadata on the disk")
		s.sh(s.B, "dd if=/run/meta of=/dev/vda bs=1M seek=60 2>/dev/null")
	})
	// DRBD refuses a peer with other settings, and is StandAlone: on both nodes, or on the one that hears the other one first.
	for _, one := range []struct{ name, edit, why, lint string }{
		{"protocol A and C", "s/protocol C/protocol A/; s/fencing resource-and-stonith;//", "other settings (incompatible protocol settings)", "net protocol is A here, C at the peer"},
		{"two primaries and one", "s/protocol C;/protocol C; allow-two-primaries;/; s/after-sb-[012]pri [a-z-]*;//g", "other settings (incompatible", "allow-two-primaries"},
		{"another secret", `s/"lab"/"moria"/`, "the shared secrets differ", "net shared-secret is (hidden) here, (hidden) at the peer"},
	} {
		s.fault(one.name, func(s *scene) {
			s.sh(s.B, "cp /etc/drbd.conf /run/; drbdadm disconnect r0; sed -i '"+one.edit+"' /etc/drbd.conf; drbdadm adjust r0")
			g := s.apart()
			s.says(g, "alarm: standalone: resource r0 is StandAlone: "+one.why)
			s.says(g, "to mend it: kvmha drbd lint")
			s.refused(s.A, 3, "kvmha switch varda", "kvmha: error: cannot switch varda: ")
			s.refused(s.B, 1, "kvmha drbd lint", one.lint)
			s.sh(s.B, "mv /run/drbd.conf /etc/drbd.conf; drbdadm adjust r0")
			s.sh(s.A, "drbdadm adjust r0")
		})
	}
}
