package explain

import (
	"fmt"
	"strings"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/link"
)

// life is how long an address outlives the last refresh of its lease. The figures were measured (Linux 6.18, 10 to 20 runs each): the kernel counts whole
// seconds, and its check of lifetimes does not run for another second when something adds an address meanwhile, unless kvmha-tick makes it run.
type life struct {
	quiet, worst time.Duration // on a quiet host; when something adds an address meanwhile
	longer       time.Duration // in both, for there are many addresses
}

func lifetime(spec ha.Spec, tick bool) life {
	addresses := 0
	for _, g := range spec.Groups {
		addresses += len(g.Addresses)
	}
	l := life{quiet: 1260 * time.Millisecond, worst: 2400 * time.Millisecond}
	if tick {
		l = life{quiet: 1100 * time.Millisecond, worst: 1100 * time.Millisecond}
	}
	longer := link.TermsFor(addresses).Lifetime - link.TermsFor(1).Lifetime // the figures above are of a few
	return life{l.quiet + longer, l.worst + longer, longer}
}

// interval is the time between two adverts (facts of carp(4), ucarp, OpenBSD: base + skew/256 s).
func interval(base, skew int) time.Duration {
	return time.Duration(base)*time.Second + time.Duration(skew)*time.Second/256
}

// dead is the silence after which a master counts as gone: ratio × base + own skew/256 s; with base 0 as OpenBSD has it, ratio × skew/256 s.
func dead(ratio, base, skew int) time.Duration {
	if base == 0 {
		return time.Duration(ratio*skew) * time.Second / 256
	}
	return time.Duration(ratio*base)*time.Second + time.Duration(skew)*time.Second/256
}

// peerSkews gives the least and the most that the peer's skew may be.
func peerSkews(g *ha.Group) (least, most int) {
	if g.PeerSkew != nil {
		return *g.PeerSkew, *g.PeerSkew
	}
	return 0, ha.MaxSkew
}

// noticeHere is how long after the peer's crash this node takes over: the last advert was up to one of the peer's intervals ago.
func noticeHere(g *ha.Group) (least, most time.Duration) {
	_, skew := peerSkews(g)
	most = dead(g.DeadRatio, g.Base, g.Skew)
	return max(0, most-interval(g.Base, skew)), most
}

// ucarpLate is how much later than its timer ucarp 1.5.2 was measured to act: pcap's timeout and its own poll.
const ucarpLate = 2100 * time.Millisecond

// noticeThere is the same on the other side, after a crash of this node. CARP's ratio is 3 for all but kvmha.
func noticeThere(g *ha.Group) (least, most time.Duration) {
	lo, hi := peerSkews(g)
	ratio := 3
	if g.Peer == ha.PeerKVMHA {
		ratio = g.DeadRatio
	}
	least = max(0, dead(ratio, g.Base, lo)-interval(g.Base, g.Skew))
	most = dead(ratio, g.Base, hi)
	if g.Peer == ha.PeerUCARP {
		most += ucarpLate
	}
	return least, most
}

// dual is for how long both nodes may have the addresses after this node's agent was killed or hung, when lost adverts were lost just
// before: the address outlives the agent by l, the peer's timer began with the last advert that it heard.
func dual(g *ha.Group, l time.Duration, lost int) time.Duration {
	ratio := 3
	if g.Peer == ha.PeerKVMHA {
		ratio = g.DeadRatio
	}
	lo, _ := peerSkews(g)
	return max(0, time.Duration(lost+1)*interval(g.Base, g.Skew)+l-dead(ratio, g.Base, lo))
}

// redAfter is how long after a failure a check is red: when the look says so at once and comes soonest, and when each look takes all its time.
func redAfter(c *ha.Check) (least, most time.Duration) {
	turn := max(c.Interval, c.Timeout)
	return time.Duration(c.Fall-1) * c.Interval, time.Duration(c.Fall)*turn + c.Timeout
}

// seconds writes a time as people say it: "3.4 s", "0.05 s", "4 h".
func seconds(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond)/time.Millisecond)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
}

// span writes two times as one.
func span(least, most time.Duration) string {
	if a, b := seconds(least), seconds(most); a != b {
		if strings.HasSuffix(b, " s") {
			a = strings.TrimSuffix(a, " s")
		}
		return a + " to " + b
	}
	return seconds(most)
}
