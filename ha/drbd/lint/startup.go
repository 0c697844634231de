package lint

import (
	"fmt"
	"slices"
	"strings"

	"kvmctl/ha/drbd/conf"
)

// drbdService begins all resources at boot; before DRBD 9 it promotes what become-primary-on says (/lib/drbd/scripts/drbd, sh-b-pri).
const drbdService = "drbd.service"

func (l *linter) begins(unit string) (Link, bool) {
	i := slices.IndexFunc(l.in.AtBoot, func(k Link) bool { return k.Unit == unit })
	if i < 0 {
		return Link{}, false
	}
	return l.in.AtBoot[i], true
}

// startup tells what happens at boot without the peer.
func (l *linter) startup() {
	nine, _ := l.nine()
	l.options(func(o conf.Option) {
		if o.Section != conf.Startup {
			return
		}
		switch o.Name {
		case "wfc-timeout", "degr-wfc-timeout":
			if n, ok := conf.Number(o.Value.Text, 1); ok && n > 0 {
				l.say(Warning, o.At, o.Name+" "+o.Value.Text,
					fmt.Sprintf("after %d s at boot the node goes on without its peer, and its stale data say UpToDate: so began the split brain after a staggered power loss", n), o.Name+" 0;")
			}
		case "become-primary-on":
			link, on := l.begins(drbdService)
			switch {
			case nine:
				l.say(Note, o.At, "become-primary-on", "DRBD 9 does not know it", "no become-primary-on")
			case on:
				l.all = append(l.all, Finding{Danger, o.At, link.At, "become-primary-on " + o.Value.Text, drbdService + " promotes at boot by it, and no agent is asked", "no become-primary-on"})
			default:
				l.say(Warning, o.At, "become-primary-on "+o.Value.Text, drbdService+" would promote at boot by it, and no agent is asked", "no become-primary-on")
			}
		}
	})
	for _, r := range l.in.Here.Resources {
		l.timeouts(r)
	}
}

// timeouts holds the rule of drbd.conf(5): timeout, in tenths of a second, below ping-int and connect-int, in seconds.
func (l *linter) timeouts(r *conf.Resource) {
	get := func(name string, unset uint64) (uint64, conf.Option) {
		o, ok := l.in.Here.Option(r, conf.Net, name)
		if n, good := conf.Number(o.Value.Text, 1); ok && good {
			return n, o
		}
		return unset, o
	}
	timeout, at := get("timeout", 60)
	for _, name := range []string{"ping-int", "connect-int"} {
		n, o := get(name, 10)
		if at.At.IsZero() {
			at = o
		}
		if timeout >= 10*n {
			l.say(Warning, at.At, fmt.Sprintf("timeout %d with %s %d", timeout, name, n),
				fmt.Sprintf("timeout counts tenths of a second: %g s are not less than %d s, and DRBD refuses it", float64(timeout)/10, n), fmt.Sprintf("timeout %d;", max(1, 10*n-1)))
		}
	}
}

// fast is what one gigabit link carries, in bytes a second.
const fast = 110 << 20

// rates tells of bytes that were meant to be bits, and of the section that is gone.
func (l *linter) rates() {
	l.options(func(o conf.Option) {
		old := o.Under == "syncer"
		switch rate := o.Name == "resync-rate" || o.Name == "c-max-rate" || o.Name == "c-min-rate"; {
		case rate:
			n, ok := conf.Number(o.Value.Text, 1<<10)
			if !ok || !old && n < 100<<20 {
				return
			}
			why := fmt.Sprintf("bytes, not bits: %s is %s, ", o.Value.Text, bits(n))
			if n >= fast*9/10 {
				why += "all that a gigabit link carries, and the service waits behind a resync"
			} else {
				why += "and a third of the link is the most that leaves room for the service"
			}
			if old {
				l.say(Warning, o.At, o.Written+" "+o.Value.Text+" in syncer", why+"; the section is obsolete since 8.4, and drbdadm 9.22 refuses it", "disk { resync-rate 33M; } on a gigabit link, 3M on 100 Mbit/s")
			} else {
				l.say(Note, o.At, o.Name+" "+o.Value.Text, why, "about a third of the link: 33M on a gigabit")
			}
		case old:
			l.say(Note, o.At, o.Written+" in syncer", "the section is obsolete since 8.4", string(o.Section)+" { "+o.Name+" "+o.Value.Text+"; }")
		}
	})
}

func bits(n uint64) string {
	if m := n * 8 / 1_000_000; m < 10_000 {
		return fmt.Sprintf("%d Mbit/s", m)
	}
	return fmt.Sprintf("%d Gbit/s", n*8/1_000_000_000)
}

// managers promote DRBD by their own mind.
var managers = []string{"pacemaker.service", "drbd-reactor.service", "heartbeat.service"}

// units tells who promotes, or begins what belongs to the active node, at boot.
func (l *linter) units() {
	for _, k := range l.in.AtBoot {
		switch {
		case strings.HasPrefix(k.Unit, "drbd-promote@") || strings.HasPrefix(k.Unit, "drbd-services@"):
			l.say(Danger, k.At, k.Unit+" begins at boot", "it promotes its resource, and no agent is asked", "systemctl disable "+k.Unit)
		case k.Unit == drbdService && slices.ContainsFunc(l.in.Groups, func(g Group) bool { return g.Storage }):
			l.say(Warning, k.At, k.Unit+" begins at boot", "it waits there for the peer, for ever unless wfc-timeout says otherwise, and takes the resources down when it ends; the agent brings its groups' up by itself", "systemctl disable "+k.Unit)
		case slices.Contains(managers, k.Unit):
			l.say(Danger, k.At, k.Unit+" begins at boot", "it promotes and demotes by its own mind, beside the agent", "systemctl disable "+k.Unit)
		}
		for _, g := range l.in.Groups {
			for _, u := range g.Units {
				if !startsUnit(k.Unit, serviceName(u)) {
					continue
				}
				if g.Storage {
					l.say(Danger, k.At, fmt.Sprintf("%s of group %q begins at boot", k.Unit, g.Name), "it would run on a node that is not active, on an empty mount point or on old data", "systemctl disable "+k.Unit)
				} else {
					l.say(Note, k.At, fmt.Sprintf("%s of group %q begins at boot", k.Unit, g.Name), "the agent begins it where the group is active", "systemctl disable "+k.Unit)
				}
			}
		}
	}
}

// startsUnit reports that one unit is another one, or begins the service of its own name when something happens (systemd.socket(5) and its kin).
func startsUnit(one, unit string) bool {
	if one == unit {
		return true
	}
	service, ok := strings.CutSuffix(unit, ".service")
	name, kind := one, ""
	if i := strings.LastIndexByte(one, '.'); i >= 0 {
		name, kind = one[:i], one[i:]
	}
	return ok && name == service && slices.Contains([]string{".socket", ".timer", ".path"}, kind)
}

// serviceName completes a unit's name as systemctl does.
func serviceName(u string) string {
	if strings.Contains(u, ".") {
		return u
	}
	return u + ".service"
}

// watchdog tells when the hardware watchdog is systemd's.
func (l *linter) watchdog() {
	if len(l.in.Watchdogs) == 0 {
		return
	}
	switch s := l.in.Watchdogs[len(l.in.Watchdogs)-1]; s.Value {
	case "", "0", "off", "infinity":
	default:
		l.say(Warning, s.At, "RuntimeWatchdogSec="+s.Value, "systemd holds /dev/watchdog and keeps the machine alive although the agent cannot let go of a resource", "RuntimeWatchdogSec=off")
	}
}
