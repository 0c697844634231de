package explain

import (
	"fmt"

	"kvmctl/ha"
	"kvmctl/ha/check"
)

// Follow tells what an agent would make of a check's answer if it stayed so. A good answer has no consequences.
func Follow(spec ha.Spec, g *ha.Group, c *ha.Check, v check.Verdict) []string {
	switch v {
	case check.Pass:
		return nil
	case check.NoIdea:
		nothing := "Nothing: nothing was learned of the service, and an agent that cannot look does not move what may well run."
		if c.Type == ha.CheckSID {
			return []string{nothing, fmt.Sprintf("Whether %s is paired, and its agent runs: kvmha status, here and there.", c.SID.Peer)}
		}
		return []string{nothing}
	}
	all := []string{counted(c, v)}
	if c.Type.TellsOnly() {
		return append(all, "Nothing is restarted or moved: the other node has the same trouble.", told(spec, g))
	}
	all = append(all, "Where the group is active: "+mended(g, c)+".")
	if c.ActiveOnly {
		all = append(all, "Where it stands by: nothing, the check is not asked there.")
	} else {
		all = append(all, "Where it stands by: the node is not fit to take the group over.")
	}
	return append(all, told(spec, g))
}

// counted tells when the answer makes the check red.
func counted(c *ha.Check, v check.Verdict) string {
	switch {
	case v == check.Certain:
		return "That is a fact, not only a missing answer: it counts at once."
	case c.Fall <= 1:
		return "One such answer counts."
	}
	least, most := redAfter(c)
	return fmt.Sprintf("It counts when it fails %d× in a row (every %s): %s after the failure.", c.Fall, seconds(c.Interval), span(least, most))
}

// mended tells what an active node does about a check that is red: first its units, then the policy.
func mended(g *ha.Group, c *ha.Check) string {
	last := "the group is handed over, and this node stays away for " + seconds(g.Damping.Min) + " at least"
	if g.OnFailure == ha.FailureStay {
		last = "the group stays and serves what still works"
	}
	if g.Restarts == 0 || len(g.Units) == 0 {
		return last
	}
	var names []string
	for _, u := range g.Units {
		if c.Unit != "" && u.Name == c.Unit { // what it watches is a unit of the group: that one alone
			names = []string{u.Name}
			break
		}
		names = append(names, u.Name)
	}
	be := "is"
	if len(names) > 1 {
		be = "are"
	}
	return fmt.Sprintf("%s %s restarted, up to %d× in %s; then %s", list(names), be, g.Restarts, seconds(g.RestartWindow), last)
}

// told tells who hears of it.
func told(spec ha.Spec, g *ha.Group) string {
	who := voices(spec)
	switch {
	case len(who) == 0:
		return "Nobody is told but the audit log: the file has no [mail], [webhook] or [command]."
	case g.Remind > 0:
		return fmt.Sprintf("An alert begins: %s, again every %s while it lasts.", list(who), seconds(g.Remind))
	}
	return fmt.Sprintf("An alert begins: %s, once.", list(who))
}
