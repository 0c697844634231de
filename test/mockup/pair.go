package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// pair is the two members of a group. a is the physical one, which is preferred.
type pair struct {
	w     *world
	group string
	a, b  *machine
	how   mode // of the files that both have
	fresh bool // nothing has been made yet, or what was there could not be mended

	pings  *answers        // of the group's address
	served func() *answers // of its service
}

// new prepares a pair from nothing: new disks, the first replication, agents, active on a.
func (p *pair) new(ctx context.Context, how mode) error {
	if err := both(func(m *machine) error { return m.off(ctx) }, p.a, p.b); err != nil {
		return err
	}
	p.how = how
	p.w.power.hostDown.Store(false)
	if err := both(func(m *machine) error { return errors.Join(blank(p.w.dir, m.name), m.boot(ctx)) }, p.a, p.b); err != nil {
		return err
	}
	if err := p.files(ctx); err != nil {
		return err
	}
	if p.a.vhid == vardaVHID {
		if err := p.replicate(ctx); err != nil {
			return err
		}
	}
	if err := both(func(m *machine) error { return m.start(ctx) }, p.a, p.b); err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil {
		return err
	}
	p.fresh = false
	return nil
}

// off ends a machine in whatever state it is, and lets it start again.
func (m *machine) off(ctx context.Context) error {
	if err := m.cut(ctx); err != nil {
		return err
	}
	_, err := m.w.kvmctl(ctx, "unhold", m.name)
	return err
}

func (p *pair) other(m *machine) *machine {
	if m == p.a {
		return p.b
	}
	return p.a
}

// files gives both what how wants, and the arbiter its own.
func (p *pair) files(ctx context.Context) error {
	if p.a.vhid == vardaVHID {
		p.w.dismiss()
		p.w.power.silent.Store(p.how == withSilent)
		if p.how == withJudge {
			if err := p.w.arbitrate(ctx); err != nil {
				return err
			}
		}
	}
	return both(func(m *machine) error { return m.setUp(ctx, p.other(m).place, p.how) }, p.a, p.b)
}

// replicate makes the resource on both: UpToDate without a resync, with a file system, and nobody is primary.
func (p *pair) replicate(ctx context.Context) error {
	err := both(func(m *machine) error {
		_, err := m.sh(ctx, "echo yes | drbdadm create-md --force "+resource+" >/tmp/md 2>&1 || { cat /tmp/md; ls -l /dev/mapper; exit 1; }; drbdadm up "+resource)
		return err
	}, p.a, p.b)
	if err != nil {
		return err
	}
	if err := p.a.until(ctx, time.Minute, "drbdadm cstate "+resource+" | grep -q ^Connected"); err != nil {
		return err
	}
	_, err = p.a.sh(ctx, fmt.Sprintf("drbdadm new-current-uuid --clear-bitmap %s/0; drbdadm primary %[1]s; mkfs.ext4 -q /dev/drbd0; drbdadm secondary %[1]s", resource))
	return err
}

// mend brings the pair back to where each row begins, from wherever the row before has left it.
func (p *pair) mend(ctx context.Context, how mode) error {
	change := how != p.how
	p.w.power.hostDown.Store(false)
	p.w.power.silent.Store(how == withSilent)
	err := both(func(m *machine) error {
		if _, err := m.w.kvmctl(ctx, "resume", m.name); err != nil && m.on() {
			return err
		}
		if !m.on() {
			return p.again(ctx, m)
		}
		for nic := range 2 {
			if err := m.link(ctx, nic, true); err != nil {
				return err
			}
		}
		if _, err := m.sh(ctx, "rm -f /run/share.broken /run/dns.broken; /lab/disk good"); err != nil {
			return err
		}
		if _, err := m.sh(ctx, "kill -0 $(cat /run/kvmha.pid) 2>/dev/null"); err != nil {
			return m.start(ctx)
		}
		return nil
	}, p.a, p.b)
	if err != nil {
		return err
	}
	if err := p.settled(ctx); err != nil || !change {
		return err
	}
	return p.change(ctx, how)
}

// again boots a machine that is off, and starts its agent.
func (p *pair) again(ctx context.Context, m *machine) error {
	if _, err := m.w.kvmctl(ctx, "unhold", m.name); err != nil {
		return err
	}
	if err := m.boot(ctx); err != nil {
		return err
	}
	if err := m.setUp(ctx, p.other(m).place, p.how); err != nil {
		return err
	}
	return m.start(ctx)
}

// change has both agents end, and begin with other files and without what they had written down: as new members of a new arbiter.
func (p *pair) change(ctx context.Context, how mode) error {
	for _, m := range []*machine{p.b, p.a} {
		if err := m.stop(ctx); err != nil {
			return err
		}
		if _, err := m.sh(ctx, "rm -rf /var/lib/kvmha/right; ! grep -q /dev/drbd0 /proc/mounts"); err != nil {
			return err
		}
	}
	p.how = how
	if err := p.files(ctx); err != nil {
		return err
	}
	if err := both(func(m *machine) error { return m.start(ctx) }, p.a, p.b); err != nil {
		return err
	}
	return p.settled(ctx)
}

// settled waits until both are equals and a is active, to which end b hands over.
func (p *pair) settled(ctx context.Context) error {
	if p.a.vhid == vardaVHID {
		for _, m := range []*machine{p.a, p.b} {
			if err := m.until(ctx, time.Minute, "drbdadm dstate "+resource+" | grep -q ^UpToDate/UpToDate"); err != nil {
				return err
			}
		}
	}
	for deadline := time.Now().Add(time.Minute); ; {
		roles := p.a.says() + " " + p.b.says()
		switch {
		case roles == "active standby":
			if p.a.vhid != vardaVHID {
				return p.more(ctx, 20*time.Second, 5)
			}
			for _, m := range []*machine{p.a, p.b} {
				if err := m.until(ctx, 20*time.Second, "grep -q '\"paired\"' /var/lib/kvmha/right/varda*"); err != nil {
					return err
				}
			}
			return p.more(ctx, 20*time.Second, 5)
		case roles == "standby active":
			if _, err := p.b.sh(ctx, "kvmha switch "+p.group+" --timeout 30s"); err != nil {
				say("%v", err)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not back to normal: %s", p.group, roles)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// more waits until the client was served some more times.
func (p *pair) more(ctx context.Context, within time.Duration, n int) error {
	answers := p.served()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for want := answers.count() + n; answers.count() < want; {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%s served the client not %d more times within %v", p.group, n, within)
		}
	}
	return nil
}

// disks says what DRBD says on each machine that is on.
func (p *pair) disks(ctx context.Context) string {
	if p.a.vhid != vardaVHID {
		return ""
	}
	var said []string
	for _, m := range []*machine{p.a, p.b} {
		if !m.on() {
			said = append(said, m.name+" off")
			continue
		}
		out, err := m.sh(ctx, "grep ' 0: ' /proc/drbd || echo down")
		if err != nil {
			out = err.Error()
		}
		f := strings.Fields(out)
		if len(f) < 4 {
			said = append(said, m.name+" "+strings.TrimSpace(out))
			continue
		}
		said = append(said, fmt.Sprintf("%s %s %s %s", m.name, f[1][3:], f[2][3:], f[3][3:]))
	}
	return strings.Join(said, "; ")
}
