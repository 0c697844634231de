package agentcmd

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha"
)

// TestStatusSaysEachThingOnce has a node that stands by for a failed check, and one that is active by heartbeats, whose peer sends no adverts.
func TestStatusSaysEachThingOnce(t *testing.T) {
	ago := func(seconds float64) *float64 { return &seconds }
	red := "127.0.0.1:53 refuses connections: nothing listens there"
	s := &ha.Status{Beat: &ha.BeatStatus{Peer: "olorin2", Alive: true, Heard: ago(0.04)}, Groups: []ha.GroupStatus{
		{Name: "dns", Role: "waiting", Reason: "checks", Since: 3, Decides: "carp", Cause: "check dns fails: " + red, Missing: "check dns fails: " + red,
			CARP: ha.CARPStatus{Peer: "10.2.0.3", Heard: ago(0.5)}, Alarms: []string{"check: check dns is red: " + red},
			Checks: []ha.CheckStatus{{Name: "dns", State: "red", Reason: red}, {Name: "tcp 127.0.0.1:80", State: "red", Reason: "it is closed"}}},
		{Name: "web", Role: "active", Since: 60, Decides: "heartbeat", Cause: "it goes first"},
		{Name: "mail", Role: "standby", Since: 60, Decides: "carp", Cause: "nothing is missing", Missing: "a master is heard"},
	}}
	got, err := new(app).page(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `GROUP  ROLE              SINCE  ADDRESSES  PEER                 WHY
dns    waiting (checks)  3s     -          10.2.0.3, 500ms ago  check dns fails: 127.0.0.1:53 refuses connections: nothing listens there
web    active            1m0s   -          olorin2, 40ms ago    it goes first
mail   standby           1m0s   -          nobody yet           nothing is missing
dns: check tcp 127.0.0.1:80 is red: it is closed
dns: alarm: check: check dns is red: 127.0.0.1:53 refuses connections: nothing listens there
mail: waits for: a master is heard
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
