package ha

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvmctl/ha/peer"
)

// What a person would be refused a peer is refused too; and only a member may ask.
func TestWhatAPeerMayNotAskFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		m, n := w.add(1), w.add(2)
		active := begin(t, m, []Group{testGroup(0)}, nil)
		time.Sleep(5 * time.Second)
		standby := begin(t, n, []Group{testGroup(100)}, nil)
		time.Sleep(10 * time.Second)
		name := testGroup(0).Name
		for _, tt := range []struct {
			name string
			at   *running
			from peer.Role
			body string
			want peer.Code
		}{
			{"it is not active there", standby, peer.Member, `{"group":"` + name + `"}`, peer.CodeRefused},
			{"no such group", active, peer.Member, `{"group":"nonsense"}`, peer.CodeFailed},
			{"no group", active, peer.Member, `{}`, peer.CodeBadRequest},
			{"no JSON", active, peer.Member, ``, peer.CodeBadRequest},
			{"an arbiter", active, peer.Arbiter, `{"group":"` + name + `"}`, peer.CodeBadRequest},
		} {
			_, err := tt.at.agent.channel.askedHandover(t.Context(), peer.Node{Name: "o", Role: tt.from}, json.RawMessage(tt.body))
			if answer, ok := errors.AsType[*peer.AnswerError](err); !ok || answer.Code != tt.want {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		r, err := active.agent.channel.report(t.Context())
		if err != nil || len(r.Groups) != 1 || r.Groups[0].Role != "active" || !r.Groups[0].Held || r.BootID != "b" {
			t.Errorf("report: %+v, %v", r, err)
		}
		standby.stop()
		active.stop()
	})
}

// A report of any size fits in a frame: checks are left out first, then groups, which are counted.
func TestAReportFitsInAFrame(t *testing.T) {
	s := Status{Node: "n"}
	for i := range 1000 {
		g := GroupStatus{Name: fmt.Sprintf("group%d", i), Cause: strings.Repeat("\x01", 100), Missing: strings.Repeat("<", 100)}
		for j := range 10 {
			g.Checks = append(g.Checks, CheckStatus{Name: fmt.Sprint(j), State: "red", Reason: strings.Repeat("\x01", 300)})
		}
		s.Groups = append(s.Groups, g)
	}
	r := reportOf(s, "boot")
	text, err := json.Marshal(r)
	if err != nil || len(text) > peer.MaxFrame-1024 || len(r.Groups) == 0 || len(r.Groups)+r.More != 1000 {
		t.Errorf("%d bytes, %d groups and %d more, %v", len(text), len(r.Groups), r.More, err)
	}
}
