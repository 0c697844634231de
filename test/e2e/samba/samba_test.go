package samba

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
)

// TestPowerCutOfTheFileServer sets varda up as the manual says, has people work on it, takes the power of the active node, brings it back, and hands over to it.
func TestPowerCutOfTheFileServer(t *testing.T) {
	testenv.Need(t, testenv.E2E, "mmdebstrap", "mke2fs", "make", "ip", "smbclient", "ldapadd", "ldapsearch")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	a, b := newSite(ctx, t)
	both(t, a, b, func(v *varda) error { return v.boot(ctx) })
	setUp(ctx, t, a, b)

	both(t, a, b, func(v *varda) error {
		_, err := v.sh(ctx, "kvmha check >/dev/null && kvmha drbd lint && systemctl enable -q --now kvmha kvmha-tick")
		return err
	})
	a.until(ctx, 2*time.Minute, "kvmha status varda | grep -q '^varda  *active'")
	c := newClient(t)
	work, leave := context.WithCancel(ctx)
	defer leave()
	wait := c.work(work)
	c.served(ctx, time.Minute)
	time.Sleep(10 * time.Second)
	c.afresh()

	t.Logf("%s power cut of %s", time.Now().Format("15:04:05.0"), a.name)
	a.cut()
	c.served(ctx, 3*time.Minute)
	b.must(ctx, "kvmha status; kvmha drbd status || [ $? = 1 ]; kvmha log | tail -n 3")
	time.Sleep(5 * time.Second)
	c.looksAfter(ctx)

	if err := a.boot(ctx); err != nil {
		t.Fatal(err)
	}
	a.until(ctx, 3*time.Minute, "kvmha status varda | grep -q '^varda  *standby' && kvmha drbd status")
	b.until(ctx, time.Minute, "kvmha status varda | grep -q '^varda  *active'")
	c.afresh()
	b.must(ctx, "kvmha switch varda --timeout 2m")
	c.served(ctx, time.Minute)
	leave()
	wait()
	c.looksAfter(ctx)
	if out := b.must(ctx, "systemctl is-active smbd slapd; mountpoint "+share+"; pgrep -a 'smbd|slapd'; true"); out != "inactive\ninactive\n"+share+" is not a mountpoint\n" {
		t.Errorf("after the hand-over %s has: %s", b.name, out)
	}
	both(t, a, b, func(v *varda) error {
		_, err := v.sh(ctx, "kvmha status && kvmha drbd status")
		return err
	})
}

// setUp is what an administrator types, once.
func setUp(ctx context.Context, t *testing.T, a, b *varda) {
	t.Helper()
	both(t, a, b, func(v *varda) error {
		_, err := v.sh(ctx, "systemctl disable --now smbd nmbd slapd drbd samba-ad-dc 2>&1 | grep -v -e ^Removed -e ^Synchronizing -e ^Executing; systemctl enable -q --now systemd-networkd; "+
			"chown root:openldap /etc/ldap/slapd.conf; chmod 640 /etc/ldap/slapd.conf; chmod 644 /etc/hosts /etc/hostname /etc/systemd/network/* /etc/samba/smb.conf; systemctl restart systemd-networkd; "+
			"useradd -M anne; mkdir -p "+share+"; "+
			"until ip -o addr | grep -q "+v.lan+" && ip -o addr | grep -q "+v.drbd+"; do sleep 0.5; done; hostname")
		return err
	})
	resource := a.must(ctx, "kvmha drbd template admin --on varda2=10.4.0.102 --on vm-varda=10.4.0.202 --device /dev/drbd0 --disk /dev/vdb --drbd 8.4 2>/dev/null")
	both(t, a, b, func(v *varda) error {
		_, err := v.sh(ctx, "umask 077; cat >/etc/drbd.d/admin.res <<'EOF'\n"+resource+"EOF\nmodprobe drbd && kvmha drbd init admin --data none")
		return err
	})
	a.until(ctx, time.Minute, "kvmha drbd init admin --data none && kvmha drbd status")

	// Both know each other's keys by four words.
	words := make(chan string, 2)
	both(t, a, b, func(v *varda) error {
		command := "kvmha pair 2>/dev/null"
		if v == b {
			command = "for i in 1 2 3 4 5; do kvmha pair " + a.lan + " 2>/dev/null && break; sleep 1; done"
		}
		out, err := v.sh(ctx, command)
		words <- strings.TrimSpace(out)
		return err
	})
	w := <-words
	if other := <-words; w != other || !regexp.MustCompile(`^[a-z]+(-[a-z]+){3}$`).MatchString(w) {
		t.Fatalf("the words are %q and %q", w, other)
	}
	both(t, a, b, func(v *varda) error {
		_, err := v.sh(ctx, "kvmha pair --yes "+w)
		return err
	})

	a.must(ctx, "drbdadm primary admin && mkfs.ext4 -q /dev/drbd0 && mount /dev/drbd0 "+share+" && cd "+share+" && mkdir samba samba/state samba/cache share ldap && "+
		"chown openldap: ldap && chmod 700 ldap samba && chown anne share && printf '"+password+"\\n"+password+"\\n' | smbpasswd -s -a anne && "+
		"printf 'dn: "+suffix+"\\nobjectClass: dcObject\\nobjectClass: organization\\no: IUT\\ndc: iut\\n\\ndn: ou=people,"+suffix+"\\nobjectClass: organizationalUnit\\nou: people\\n' | "+
		"su -s /bin/sh openldap -c 'slapadd -f /etc/ldap/slapd.conf' && cd / && umount "+share+" && drbdadm secondary admin")
}
