package explain

import (
	"fmt"
	"strings"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/peer"
	"kvmctl/ha/right"
)

// pair is a group with storage, as it is decided who of its two nodes may go on alone. What becomes of them is what package right decides about two
// that were each other's equal until then; nothing of it is written here a second time.
type pair struct {
	group      string
	nodes      [2]string // this one, then the other one
	by         right.AloneBy
	arbiter    string // who keeps the arbiter's record
	fence      *ha.Fence
	fenceAfter string
}

func (n *notes) pair(g *ha.Group) (p pair, ok bool) {
	if len(g.Storage.Resources) == 0 {
		return p, false
	}
	p = pair{group: g.Name, nodes: [2]string{n.spec.Node, ""}, arbiter: "the etcd", fenceAfter: seconds(g.Storage.FenceAfter)}
	for _, one := range n.spec.Peers {
		switch one.Role {
		case peer.Member:
			p.nodes[1] = one.Name
		case peer.Arbiter:
			p.arbiter = one.Name
		}
	}
	for i := range n.spec.Fences {
		if n.spec.Fences[i].Name == g.Storage.Fence {
			p.fence = &n.spec.Fences[i]
		}
	}
	var err error
	p.by, err = right.ParseAlone(g.Storage.Alone, p.nodes[:]...)
	return p, err == nil
}

func (p pair) other(node string) string {
	if node == p.nodes[0] {
		return p.nodes[1]
	}
	return p.nodes[0]
}

// situation of a node that has just lost its equal, or is about to lose it.
func (p pair) situation(node string, active bool) right.Situation {
	rec := right.Record{Group: p.group, State: right.Paired, N: 1}
	return right.Situation{
		Node: node, Peer: p.other(node), Group: p.group, Alone: p.by, Agreed: true, Own: rec, Last: rec, Disk: right.UpToDate, Active: active, BothUpToDate: true,
		InFlight: arbiter.ID{1},
	}
}

// alone decides for a node that hears nothing from the other one, where these answer it.
func (p pair) alone(node string, active bool, answer ...right.Kind) right.Verdict {
	s, decide := p.situation(node, active), right.MayPromote
	if active {
		decide = right.MayStayAlone
	}
	v := decide(s)
	for _, k := range answer {
		if !v.May && asked(v, k) {
			s.Licence = right.Licence{Kind: k, Request: s.InFlight, N: v.N}
			v = decide(s)
		}
	}
	return v
}

func asked(v right.Verdict, k right.Kind) bool {
	for _, one := range v.Ask {
		if one == k {
			return true
		}
	}
	return false
}

// parted decides for an active node whose DRBD has lost the other one, which is heard all the same.
func (p pair) parted(node string) right.Verdict {
	standby, heard := p.situation(p.other(node), false), p.situation(node, true).Own
	standby.Heard, standby.InFlight, standby.PeerActive = &heard, arbiter.ID{}, true
	if right.MayYield(standby, heard.N+1).May {
		return p.alone(node, true, right.LetGo)
	}
	return p.alone(node, true)
}

// answers is who may give a licence to this node or to the other one, when all is well; of the other one's fence its own file says what it is.
func (p pair) answers(node string) []right.Kind {
	if p.by.Who == right.ByFence && node == p.nodes[0] && (p.fence == nil || p.fence.Kind == ha.FenceManual) {
		return nil
	}
	return []right.Kind{right.Arbiter, right.Fence}
}

// how says by what a node goes on.
func (p pair) how(node string, v right.Verdict) string {
	switch v.By {
	case right.Named:
		return node + " goes on by itself, as alone names it"
	case right.Arbiter:
		return fmt.Sprintf("%s goes on once it has won the record of %s", node, p.arbiter)
	case right.Fence:
		return fmt.Sprintf("%s goes on once %s has answered that %s is off (asked after %s of silence, by a standby later)", node, p.fenceOf(node), p.other(node), p.fenceAfter)
	case right.LetGo:
		return fmt.Sprintf("%s goes on by %s's word", node, p.other(node))
	}
	return node + " waits: " + v.Why
}

func (p pair) fenceOf(node string) string {
	if node == p.nodes[0] && p.fence != nil {
		return "its fence " + p.fence.Name
	}
	return "its own fence"
}

// confirm says how a person decides.
func (p pair) confirm(node string, v right.Verdict) string {
	if v.Override == "" {
		return ""
	}
	return fmt.Sprintf(" Sooner only if somebody who has seen that %s is off types on %s: %s", p.other(node), node, v.Override)
}

const frozen = "If it was active, its writes stand still meanwhile, and nothing that was acknowledged is lost."

// storage tells what goes on and what stops, whatever is lost.
func (n *notes) storage(g *ha.Group) {
	p, ok := n.pair(g)
	if !ok {
		return
	}
	n.add(Promise, "", "Only the active node has %s: that comes before all else and ends after it. While the two are connected no write counts as done before the other node has it, too.", holds(&g.Storage))
	n.death(p, p.nodes[1])
	n.death(p, p.nodes[0])
	n.silent(p)
	n.oneCable(p)
	n.bothCables(p)
	n.powerLoss(p)
	n.add(Task, "kvmha drbd lint", "No agent with storage runs while kvmha drbd lint finds a danger in drbd.conf, in fstab or in what begins at boot: see to it on both nodes.")
	n.add(Task, "", `The other node needs the same alone = %q, drbd and mount%s.`, p.by.String(), map[bool]string{true: ", and a fence of its own, for this node"}[p.by.Who == right.ByFence])
}

func holds(s *ha.Storage) string {
	var names, mounts []string
	for _, r := range s.Resources {
		names = append(names, r.Name)
	}
	for _, m := range s.Mounts {
		mounts = append(mounts, m.Device+" on "+m.Dir)
	}
	if len(mounts) == 0 {
		return list(names) + " as primary"
	}
	return list(names) + " as primary and mounts " + list(mounts)
}

// death of a node.
func (n *notes) death(p pair, dead string) {
	left := p.other(dead)
	active, standby := p.alone(left, true, p.answers(left)...), p.alone(left, false, p.answers(left)...)
	switch {
	case active.May && standby.May:
		n.add(Promise, "", "When %s or its host dies, %s; if it stood by, it takes over.", dead, p.how(left, standby))
	case !active.May && !standby.May:
		n.add(Limit, "", "When %s or its host dies, %s. It goes on when %s is back. %s%s", dead, p.how(left, standby), dead, frozen, p.confirm(left, standby))
	default:
		n.add(Limit, "", "When %s or its host dies: if %s was active, %s; if it stood by, %s.%s", dead, left, p.how(left, active), p.how(left, standby), p.confirm(left, standby))
	}
}

// silent tells what stops when whoever is asked dies.
func (n *notes) silent(p pair) {
	var who string
	switch p.by.Who {
	case right.ByArbiter:
		who = p.arbiter + " dies or cannot be reached"
	case right.ByFence:
		who = "a fence is silent (it hangs on the power or the host of what it is to end, or on a dead switch)"
	case right.ByName:
		return
	}
	a, b := p.alone(p.nodes[0], false), p.alone(p.nodes[1], false)
	if a.May || b.May {
		n.add(Promise, "", "When %s, %s; %s.", who, p.how(p.nodes[0], a), p.how(p.nodes[1], b))
		return
	}
	n.add(Limit, "", "When %s, nothing stops by that alone: %s go on as they are. But if one of the two is lost then, too, or they lose each other, %s, and %s%s", who, list(p.nodes[:]),
		p.how(p.nodes[0], a), p.how(p.nodes[1], b), "; the alarm nobody-active has the command by which a person decides.")
}

// oneCable tells what becomes of a pair that still hears itself.
func (n *notes) oneCable(p pair) {
	connected := p.situation(p.nodes[0], false)
	connected.PeerActive, connected.InFlight = true, arbiter.ID{}
	if !right.MayPromote(connected).May {
		n.add(Promise, "", "When the heartbeats' cables are cut and DRBD is still connected, DRBD knows who is active, and the standby waits for it.")
	}
	a, b := p.parted(p.nodes[0]), p.parted(p.nodes[1])
	kind, end := Promise, "the other one stands by again when it has caught up"
	if !a.May || !b.May {
		kind, end = Limit, "until the cable is back"
	}
	n.add(kind, "", "When only DRBD's cable is cut, who is active goes on (%s; %s); %s.", p.how(p.nodes[0], a), p.how(p.nodes[1], b), end)
}

// bothCables tells of a full partition.
func (n *notes) bothCables(p pair) {
	const both = "In a full partition (both nodes run, neither hears the other)"
	const address = "The addresses may answer on both sides, but only the one that goes on writes; where the other one was active, its writes stand still, and nothing that was acknowledged is lost."
	var may, waits []string
	var stuck right.Verdict
	var one string
	for _, node := range p.nodes {
		if v := p.alone(node, true, p.answers(node)...); v.May {
			may = append(may, p.how(node, v))
		} else {
			waits, stuck, one = append(waits, p.how(node, v)), v, node
		}
	}
	switch {
	case len(may) == 2 && p.by.Who == right.ByFence:
		n.add(Limit, "", "%s one ends the other one: %s. The active one asks first. Where both fences are silent, both wait.", both, strings.Join(may, "; "))
	case len(may) == 2:
		n.add(Limit, "", "%s one goes on, the first that is answered: %s. The other one waits. Where neither is answered, both wait. %s", both, strings.Join(may, "; "), address)
	case len(may) == 1 && p.by.Who == right.ByFence:
		n.add(Limit, "", "%s %s, even where the other one was active; %s. Nothing that was acknowledged is lost.", both, may[0], waits[0])
	case len(may) == 1:
		n.add(Limit, "", "%s %s, even where the other one was active; %s. %s", both, may[0], waits[0], address)
	default:
		n.add(Limit, "", "%s both wait: %s. %s%s", both, strings.Join(waits, "; "), frozen, p.confirm(one, stuck))
	}
}

// powerLoss tells of two that boot one after the other.
func (n *notes) powerLoss(p pair) {
	booted := p.situation(p.nodes[0], false)
	booted.BothUpToDate, booted.Last, booted.InFlight = false, right.Record{}, arbiter.ID{}
	v := right.MayPromote(booted)
	booted.Own.State = right.Alone
	if last := right.MayPromote(booted); !v.May && last.May {
		n.add(Limit, "", "A node that boots without the other one waits for it, whatever alone says, unless its own record says that it went on alone last: the other one may have newer data. %s",
			"A person who knows better has kvmha confirm-dead.")
	}
}
