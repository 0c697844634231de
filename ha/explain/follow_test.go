package explain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha"
	"kvmctl/ha/check"
)

func TestFollow(t *testing.T) {
	const (
		inARow  = "It counts when it fails 3× in a row (every 1 s): 2 to 4 s after the failure."
		nobody  = "Nobody is told but the audit log: the file has no [mail], [webhook] or [command]."
		standby = "Where it stands by: nothing, the check is not asked there."
	)
	spec := ha.Spec{Mail: ha.Mail{Relay: "relay:25", To: []string{"admin@example.org"}}}
	group := func(change func(*ha.Group, *ha.Check)) (*ha.Group, *ha.Check) {
		g := ha.DefaultGroup("dns")
		g.Units = []ha.Unit{{Kind: ha.UnitSystemd, Name: "named.service"}, {Kind: ha.UnitSystemd, Name: "dhcpd.service"}}
		c := ha.Check{Type: ha.CheckTCP, ActiveOnly: true, Interval: time.Second, Timeout: time.Second, Fall: 3, Rise: 2}
		if change != nil {
			change(&g, &c)
		}
		return &g, &c
	}
	for _, c := range []struct {
		name    string
		spec    ha.Spec
		change  func(*ha.Group, *ha.Check)
		verdict check.Verdict
		want    []string
	}{
		{"good", spec, nil, check.Pass, nil},
		{"nothing learned", spec, nil, check.NoIdea,
			[]string{"Nothing: nothing was learned of the service, and an agent that cannot look does not move what may well run."}},
		{"a peer that does not tell its SIDs", spec, func(_ *ha.Group, c *ha.Check) { c.Type, c.SID.Peer = ha.CheckSID, "varda2" }, check.NoIdea,
			[]string{"Nothing: nothing was learned of the service, and an agent that cannot look does not move what may well run.",
				"Whether varda2 is paired, and its agent runs: kvmha status, here and there."}},
		{"restart of all units, then the hand-over (H5)", spec, nil, check.Fail, []string{inARow,
			"Where the group is active: named.service and dhcpd.service are restarted, up to 1× in 10 min; then the group is handed over, and this node stays away for 1 s at least.",
			standby, "An alert begins: mails go to admin@example.org by relay:25, again every 4 h while it lasts."}},
		{"the unit it watches alone; a fact", ha.Spec{}, func(_ *ha.Group, c *ha.Check) { c.Type, c.Unit = ha.CheckSystemd, "named.service" }, check.Certain,
			[]string{"That is a fact, not only a missing answer: it counts at once.",
				"Where the group is active: named.service is restarted, up to 1× in 10 min; then the group is handed over, and this node stays away for 1 s at least.", standby, nobody}},
		{"no restart; stay", ha.Spec{}, func(g *ha.Group, c *ha.Check) { g.Restarts, g.OnFailure, c.Fall = 0, ha.FailureStay, 1 }, check.Fail,
			[]string{"One such answer counts.", "Where the group is active: the group stays and serves what still works.", standby, nobody}},
		{"what only tells (D12)", spec, func(_ *ha.Group, c *ha.Check) { c.Type = ha.CheckSID }, check.Fail, []string{inARow,
			"Nothing is restarted or moved: the other node has the same trouble.", "An alert begins: mails go to admin@example.org by relay:25, again every 4 h while it lasts."}},
		{"a node on which it fails is not fit", spec, func(g *ha.Group, c *ha.Check) { g.Units, g.Remind, c.ActiveOnly = nil, 0, false }, check.Fail,
			[]string{inARow, "Where the group is active: the group is handed over, and this node stays away for 1 s at least.",
				"Where it stands by: the node is not fit to take the group over.", "An alert begins: mails go to admin@example.org by relay:25, once."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, k := group(c.change)
			if d := cmp.Diff(c.want, Follow(c.spec, g, k, c.verdict)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}
