package hostcmd

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

func TestThePictureOfWhoWaitsForWhom(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	signs := map[string]string{"dns": "tcp:53", "ad": "console:login:\n "}
	dns := vm.JobView{Name: "dns", Phase: vm.PhaseSettles, Since: at(-4), Until: at(116)}
	for _, tt := range []struct {
		name  string
		view  []vm.JobView
		width int
		want  string
	}{
		{"nothing", nil, 80, ""},
		{"a start alone is over before anybody looks", []vm.JobView{{Name: "a", Phase: vm.PhaseActs}, {Name: "b", Phase: vm.PhaseWaits, Held: "a"}}, 80, ""},
		{"a tree", []vm.JobView{
			{Name: "mail", Phase: vm.PhaseWaits, Held: "ldap"}, dns, {Name: "ldap", Phase: vm.PhaseWaits, Held: "dns"},
			{Name: "web", Phase: vm.PhaseWaits, Held: "dns"}, {Name: "old", Phase: vm.PhaseDone}, {Name: "bad", Phase: vm.PhaseFailed},
			{Name: "ntp", Phase: vm.PhaseDelayed, Until: at(3)}, {Name: "x", Phase: vm.PhaseQueued}, {Name: "y", Phase: vm.PhaseActs},
		}, 80, `
  dns runs, and is not ready yet: tcp:53 (4s of 2m0s)
  |- ldap waits
  |  ` + "`" + `- mail waits
  ` + "`" + `- web waits
  ntp starts in 3s
  x waits for its turn
  y starts`},
		{"a narrow terminal", []vm.JobView{dns}, 20, "\n  dns runs, and is "},
		{"a sign with a line's end", []vm.JobView{{Name: "ad", Phase: vm.PhaseSettles, Since: now, Until: at(60)}}, 80,
			"\n  ad runs, and is not ready yet: console:login:   (0s of 1m0s)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, l := range boardLines(now, tt.view, signs, tt.width) {
				got += "\n" + l
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	var many []vm.JobView
	for range 40 {
		many = append(many, dns)
	}
	if got := boardLines(now, many, signs, 80); len(got) != boardMost+1 || got[boardMost] != "  … and 24 more" {
		t.Errorf("%d lines: %q", len(got), got[len(got)-1])
	}
}

// What is said appears above the picture, and at the end the picture is gone.
func TestTheBoardTakesItsPictureBack(t *testing.T) {
	var out bytes.Buffer
	a := &app{env: &cli.Env{Prog: "kvmctl", Err: &out}}
	b := a.newBoard(&vm.StartPlan{Specs: []*vm.Spec{{Name: "dns", Ready: vm.Ready{Kind: vm.ReadyPing}}}})
	b.tty = true
	now := time.Now()
	b.show([]vm.JobView{{Name: "dns", Phase: vm.PhaseSettles, Since: now, Until: now.Add(time.Minute)}})
	a.env.Talk("hello")
	b.close()
	a.env.Talk("the end")
	picture := "  dns runs, and is not ready yet: ping (0s of 1m0s)\n"
	want := picture + "\r\033[1A\033[Jkvmctl: hello\n" + picture + "\r\033[1A\033[Jkvmctl: the end\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

func TestWhatADryRunSaysOfTheOrder(t *testing.T) {
	dns := &vm.Spec{Name: "dns", Order: 50, Ready: vm.Ready{Kind: vm.ReadyTCP, Port: 53, Timeout: time.Minute}}
	ldap := &vm.Spec{Name: "ldap", Order: 50, After: []string{"dns", "nfs"}, StartDelay: 5 * time.Second}
	web := &vm.Spec{Name: "web", Order: 60, After: []string{"ldap"}}
	got := ""
	p := &vm.StartPlan{Specs: []*vm.Spec{web, ldap, dns}, Outside: []*vm.Spec{{Name: "nfs"}}}
	for _, l := range scheduleLines(p.Jobs()) {
		got += l.text + "\n"
	}
	if d := cmp.Diff(strings.TrimPrefix(`
# nfs: has to run
# dns: at once
# ldap: when dns is ready, within 1m0s, when nfs runs, 5s later
# web: when ldap runs, after the start of dns
`, "\n"), got); d != "" {
		t.Error(d)
	}
}
