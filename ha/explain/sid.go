package explain

import (
	"kvmctl/ha"
	"kvmctl/ha/check"
)

// sid tells what a check of the type sid compares, and what it says now where it was asked.
func (n *notes) sid(g *ha.Group, c *ha.Check) {
	what := "the domain's SID and the machines' own"
	if c.SID.DomainOnly {
		what = "the domain's SID alone"
	}
	n.add(Promise, "", "The check %q compares %s, as the Sambas here and on %s have them, every %s. A difference is told; it moves nothing, for the other node has it, too, "+
		"and a node whose peer does not answer serves all the same.", c.Name, what, c.SID.Peer, seconds(c.Interval))
	now, asked := n.facts.SIDs[g.CheckName(*c)]
	switch {
	case !asked:
		n.add(Task, "", "The check %q was not asked: kvmha check compares the SIDs for root, where the agent runs.", c.Name)
	case now.Verdict == check.Pass:
		n.add(Promise, "", "The check %q was asked just now: the SIDs are right, here and on %s.", c.Name, c.SID.Peer)
	case now.Verdict == check.NoIdea:
		n.add(Warning, "kvmha status", "the SIDs of the check %q could not be compared: %s", c.Name, now.Reason)
	default:
		n.add(Warning, "", "the check %q fails: %s", c.Name, now.Reason)
	}
}
