package faults

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/drbdlab"
	"kvmctl/test/drbdlab/drbdtest"
)

// scene is two guests with agents whose mails are kept in /run/mails; active on A.
type scene struct {
	*testing.T
	*drbdlab.Agents
	ctx context.Context
}

// patience is how long one thing may take.
const patience = 60 * time.Second

// mail notes whatever an agent tells people.
const mail = "#!/bin/sh\n{ cat; echo; } >>/run/mails\n"

func newScene(t *testing.T) *scene {
	ctx := drbdtest.During(t, 9*time.Minute)
	s := &scene{t, drbdtest.Stage(ctx, t, testenv.E2E, "varda2"), ctx}
	s.Fence = "[command]\nrun = [\"/bin/mail\"]\n"
	for _, g := range []*drbdlab.Guest{s.A, s.B} {
		s.must(g.Put(ctx, "/bin/mail", []byte(mail), 0o755))
		s.must(s.Prepare(ctx, g))
		s.sh(g, "kvmha reload")
	}
	return s
}

// fault runs one of them; the next one needs what it leaves: A active, B stands by.
func (s *scene) fault(name string, f func(*scene)) {
	began := time.Now()
	ok := s.Run(name, func(t *testing.T) {
		one := &scene{t, s.Agents, s.ctx}
		f(one)
		one.whole()
	})
	s.Logf("%s: %.1fs", name, time.Since(began).Seconds())
	if !ok {
		s.FailNow()
	}
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) sh(g *drbdlab.Guest, script string) string {
	s.Helper()
	out, err := g.Sh(s.ctx, script)
	s.must(err)
	return out
}

// until waits for a script to succeed.
func (s *scene) until(g *drbdlab.Guest, script string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	if err := g.Until(ctx, script); err != nil {
		text, _ := g.Sh(s.ctx, "kvmha status; tail -20 /var/log/kvmha.log; cat /proc/drbd")
		s.Fatalf("%s: %v\n%s", g.Name, err, text)
	}
}

// says waits until the status of a guest's group has a text, and shows the line.
func (s *scene) says(g *drbdlab.Guest, text string) {
	s.Helper()
	s.until(g, fmt.Sprintf("kvmha status varda | grep -F -e '%s'", text))
	s.Logf("%s: %s", g.Name, s.sh(g, fmt.Sprintf("kvmha status varda | grep -F -e '%s'", text)))
}

// mailed waits until a guest has mailed a text.
func (s *scene) mailed(g *drbdlab.Guest, text string) {
	s.Helper()
	s.until(g, fmt.Sprintf("grep -q -F -e '%s' /run/mails", text))
}

// refused wants a command to exit with a code and to say all these texts.
func (s *scene) refused(g *drbdlab.Guest, code int, command string, texts ...string) {
	s.Helper()
	out := s.sh(g, "code=0; "+command+" 2>&1 || code=$?; echo exit $code")
	s.Logf("%s: %s\n%s", g.Name, command, out)
	for _, text := range append(texts, fmt.Sprint("exit ", code)) {
		if !strings.Contains(out, text) {
			s.Errorf("it does not say %q", text)
		}
	}
}

// whole waits until A is active and B stands by. The agents of a fault's nodes begin anew: an alarm that comes back soon is not mailed twice.
func (s *scene) whole() {
	s.Helper()
	s.pair()
	s.kill(s.B)
	s.sh(s.B, "rm -f /run/mails")
	s.sh(s.A, "rm -f /run/mails")
	s.must(s.Start(s.ctx, s.B))
	s.pair()
	s.must(s.AtMostOnePrimary(s.ctx))
}

// pair waits for the two roles.
func (s *scene) pair() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	s.must(s.Role(ctx, s.A, "active"))
	s.must(s.Role(ctx, s.B, "standby"))
	s.must(s.UpToDate(ctx))
	for { // and it stays so: a guest that has too little of the CPU may have to begin anew
		if steady(ctx, s.Agents, s.A, "active") && steady(ctx, s.Agents, s.B, "standby") {
			return
		}
		s.must(ctx.Err())
		time.Sleep(500 * time.Millisecond)
	}
}

// steady reports whether a guest has had a role for a while.
func steady(ctx context.Context, a *drbdlab.Agents, g *drbdlab.Guest, role string) bool {
	status, err := a.Status(ctx, g)
	return err == nil && len(status.Groups) == 1 && status.Groups[0].Role == role && status.Groups[0].Since > 2
}

// apart waits until DRBD is StandAlone on a node, and gives this.
func (s *scene) apart() *drbdlab.Guest {
	s.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) { // not those that are so for a moment
		for _, g := range s.guests() {
			if strings.Contains(s.sh(g, "kvmha status varda || true"), "alarm: standalone: ") {
				return g
			}
		}
	}
	s.Fatal("DRBD is StandAlone nowhere")
	return nil
}

func (s *scene) kill(g *drbdlab.Guest) { s.sh(g, "kill -9 $(cat /run/kvmha.pid)") }

func (s *scene) guests() []*drbdlab.Guest { return []*drbdlab.Guest{s.A, s.B} }
