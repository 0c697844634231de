package explain

import (
	"slices"
	"strings"

	"kvmctl/ha"
	"kvmctl/ha/beat"
	"kvmctl/ha/peer"
)

// node tells what holds for all groups.
func (n *notes) node() {
	s := n.spec
	n.arbiters()
	if len(s.Groups) == 0 && len(s.Arbiter) > 0 {
		return
	}
	if len(s.Groups) == 0 {
		n.add(Warning, "add a [group.<name>]", "the file has no group: there is nothing to do")
		return
	}
	for _, err := range n.facts.Unsafe {
		n.add(Warning, "kvmha drbd lint", "the agent refuses to run with this file: %v", err)
	}
	voices := voices(s)
	if len(voices) == 0 {
		n.add(Warning, "add a [mail], a [webhook] or a [command]", "nobody is told when something happens: the audit log is all there is")
	} else {
		n.add(Promise, "", "On every alert %s: once when it begins, again while it lasts, and once when it ends.", list(voices))
		n.add(Limit, "", "A node that is cut off can tell nobody. Its peer tells of the takeover, if it is a kvmha with a voice of its own.")
	}
	if s.Mail.Relay != "" {
		n.add(Promise, "", "While %s is down, mails wait on disk and are sent when it is back; nothing else waits for them. The room is bounded: the oldest give way, and are counted.", s.Mail.Relay)
		if len(voices) == 1 {
			n.add(Limit, "add a [webhook] or a [command]", "Mail is the only voice: while %s is down, nobody hears of an alert until it is back.", s.Mail.Relay)
		}
	}
	if s.Mail.Relay != "" && (s.Mail.TLS == ha.MailPlain || s.Mail.TLS == ha.MailOpportunistic) {
		n.add(Limit, `tls = "starttls"`, "Mails may cross the network in the clear (tls is %q).", s.Mail.TLS)
	}
	n.add(Limit, "", "A node that stands still as a whole (a paused or migrated virtual machine) does not know it: it lets go in the first moment in which it runs again, and "+
		"in that moment both nodes may answer.")
	for _, p := range s.Peers {
		if p.Role == peer.Member && !n.facts.Paired[p.Name] {
			n.add(Task, "kvmha pair", "This node and %s have to know each other's keys; until then they neither report to each other nor exchange heartbeats.", p.Name)
		}
	}
	if !n.facts.Tick && slices.ContainsFunc(s.Groups, func(g ha.Group) bool { return n.beats(&g) != nil || dual(&g, n.life.worst, 0) > 0 }) {
		sooner := ""
		if slices.ContainsFunc(s.Groups, func(g ha.Group) bool { return n.beats(&g) != nil }) {
			sooner = ", and the peer takes over " + seconds(beat.LeaseBound-beat.LeaseBoundTick) + " sooner"
		}
		n.add(Task, "systemctl enable --now kvmha-tick.service", "kvmha-tick makes the kernel look at lifetimes ten times a second: with it an address is gone 1.1 s after its agent, whatever else the host does%s.", sooner)
	}
}

// voices tells how people hear of an alert.
func voices(s ha.Spec) []string {
	var all []string
	if s.Mail.Relay != "" {
		all = append(all, "mails go to "+list(s.Mail.To)+" by "+s.Mail.Relay)
	}
	if s.Webhook.URL != "" {
		all = append(all, "a webhook is called")
	}
	if len(s.Command.Argv) > 0 {
		all = append(all, s.Command.Argv[0]+" is run")
	}
	return all
}

// list writes "a, b and c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
