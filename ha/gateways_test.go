package ha

import (
	"net/netip"
	"testing"
)

// Three questions without an answer are silence, one is no answer any more, and another gateway begins anew.
func TestGatewayIsSilentAfterThreeQuestions(t *testing.T) {
	one, other := netip.MustParseAddr("10.77.0.3"), netip.MustParseAddr("10.77.0.4")
	g := gateway{}
	if g.answers() || g.silent() {
		t.Errorf("never asked: %+v", g)
	}
	for i, step := range []struct {
		first           netip.Addr
		answered        bool
		answers, silent bool
	}{
		{one, false, false, false}, {one, false, false, false}, {one, false, false, true}, {one, false, false, true},
		{one, true, true, false}, {one, false, false, false}, {one, false, false, false},
		{other, false, false, false}, {other, false, false, false}, {other, false, false, true}, {other, true, true, false},
	} {
		if g = g.next(step.first, step.answered); g.answers() != step.answers || g.silent() != step.silent {
			t.Errorf("question %d: answers %t, silent %t, want %+v", i+1, g.answers(), g.silent(), step)
		}
	}
}
