package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scenario is a row, once for each mode.
type scenario struct {
	name  string
	title string
	how   []mode
	play  func(context.Context, *stage) error // fails unless it ends as it should
	split bool                                // its steps are shown, too
}

// Time that a take-over, or the alarm that there is none, has: tcg on a busy machine is slow, and a fence that is silent is waited for.
const (
	takeover = 60 * time.Second
	silence  = 2 * time.Minute
)

var (
	once  = []mode{withPDU}
	three = []mode{withPDU, withSilent, withJudge}
)

// scenarios are the rows of varda, but for staggered power losses.
func scenarios() []scenario {
	return []scenario{
		{"switch", "planned switch-over", once, plannedSwitch, true},
		{"stop", "clean stop of the primary's agent", once, cleanStop, false},
		{"respawn", "kill −9 of the agent, which is started again at once", once, agentRestarted, false},
		{"service", "service killed", once, serviceKilled, false},
		{"broken", "service killed, and it cannot start again", once, serviceBroken, false},
		{"cable", "link cut: the primary's service link", once, serviceLinkCut, false},
		{"replication", "link cut: DRBD's", once, replicationCut, false},
		{"standby", "power cut of the standby under write load", once, standbyOff, false},
		{"disk", "disk failure under DRBD on the primary", once, diskFails, false},
		{"failback", "failback during a resync (refused) and after it", once, failback, false},
		{"kill", "kill −9 of the agent, which nothing starts again", once, agentKilled, false},
		{"power", "power cut of the primary", three, powerCut, true},
		{"both", "both links cut, and healed", three, bothCut, false},
		{"host", "power cut of the standby's host under write load", []mode{withPDU, withJudge}, hostOff, false},
		{"freeze", "frozen primary that thaws", three, frozen, false},
	}
}

// names are those that -only knows.
func names() []string {
	var all []string
	for _, s := range slices.Concat(scenarios(), staggered(1, 1), plainScenarios()) {
		all = append(all, s.name)
	}
	return all
}

func known(only string) bool {
	for name := range strings.SplitSeq(only, ",") {
		if name != "" && !slices.ContainsFunc(names(), func(n string) bool { return strings.HasPrefix(n, name) }) {
			return false
		}
	}
	return true
}

func (o options) wants(name string) bool {
	for n := range strings.SplitSeq(o.only, ",") {
		if o.only == "" || n != "" && strings.HasPrefix(name, n) {
			return true
		}
	}
	return false
}

// movedTo waits until a member is active and the client is served.
func (s *stage) movedTo(ctx context.Context, m *machine) error {
	if err := m.role(ctx, takeover, "active"); err != nil {
		return err
	}
	return s.more(ctx, 20*time.Second, 10)
}

// takenOver is how it has to end when the primary has gone: b serves, unless the PDU is silent; then it waits, with the alarm.
func (s *stage) takenOver(ctx context.Context) error {
	if s.how == withSilent {
		return s.waits(ctx, s.b)
	}
	return s.movedTo(ctx, s.b)
}

var errEnd = errors.New("that is not how it has to end")

// alarm waits for a member to tell that nobody is active.
func (s *stage) alarm(ctx context.Context, m *machine) error {
	if err := m.until(ctx, silence, "kvmha status "+s.group+" | grep -q 'alarm: nobody-active'"); err != nil {
		return err
	}
	s.said += fmt.Sprintf("; alarm at %s after %.0f s", m.name, time.Since(s.began).Seconds())
	return nil
}

// waits waits for the alarm of a member that may not go on, and has it say who could have it go on.
func (s *stage) waits(ctx context.Context, m *machine) error {
	if err := s.alarm(ctx, m); err != nil {
		return err
	}
	if err := m.role(ctx, silence, "waiting"); err != nil { // it asks, meanwhile
		return err
	}
	st, err := m.status(ctx)
	if err != nil {
		return err
	}
	if g := st.Groups[0]; g.Role != "waiting" || !strings.Contains(g.Override, "confirm-dead") {
		return fmt.Errorf("%s is %s, missing %q, override %q: %w", m.name, g.Role, g.Missing, g.Override, errEnd)
	}
	return nil
}

// stays sees that a member is active and serves for a while.
func (s *stage) stays(ctx context.Context, m *machine, d time.Duration) error {
	for until := time.Now().Add(d); time.Now().Before(until); {
		if err := s.more(ctx, 20*time.Second, 5); err != nil {
			return err
		}
		if role := m.says(); role != "active" {
			return fmt.Errorf("%s is %s: %w", m.name, role, errEnd)
		}
	}
	return nil
}

func plannedSwitch(ctx context.Context, s *stage) error {
	s.mark()
	if _, err := s.a.sh(ctx, "kvmha switch "+s.group+" --timeout 60s"); err != nil {
		return err
	}
	return s.movedTo(ctx, s.b)
}

func cleanStop(ctx context.Context, s *stage) error {
	s.mark()
	if err := s.a.stop(ctx); err != nil {
		return err
	}
	return s.movedTo(ctx, s.b)
}

func agentKilled(ctx context.Context, s *stage) error {
	s.mark()
	if _, err := s.a.sh(ctx, "kill -9 $(cat /run/kvmha.pid)"); err != nil {
		return err
	}
	s.w.note(s.a.name, "", "dead")
	// DRBD is still connected, and varda2 is primary: nobody is fenced, and vm-varda tells that nobody is active.
	if err := s.alarm(ctx, s.b); err != nil {
		return err
	}
	if s.b.says() == "active" {
		return errEnd
	}
	return nil
}

func agentRestarted(ctx context.Context, s *stage) error {
	s.mark()
	if _, err := s.a.sh(ctx, "kill -9 $(cat /run/kvmha.pid)"); err != nil {
		return err
	}
	s.w.note(s.a.name, "", "dead")
	if err := s.a.start(ctx); err != nil {
		return err
	}
	if err := s.movedTo(ctx, s.a); err != nil {
		return err
	}
	return s.stays(ctx, s.a, 8*time.Second)
}

func serviceKilled(ctx context.Context, s *stage) error {
	s.mark()
	if _, err := s.a.sh(ctx, "for p in /run/share.pid /run/dnsmasq.pid; do [ ! -e $p ] || kill -9 -$(cat $p) 2>/dev/null || kill -9 $(cat $p); done"); err != nil {
		return err
	}
	if err := s.more(ctx, takeover, 10); err != nil {
		return err
	}
	return s.stays(ctx, s.a, 3*time.Second)
}

func serviceBroken(ctx context.Context, s *stage) error {
	if _, err := s.a.sh(ctx, "touch /run/share.broken /run/dns.broken"); err != nil {
		return err
	}
	s.mark()
	if _, err := s.a.sh(ctx, "for p in /run/share.pid /run/dnsmasq.pid; do [ ! -e $p ] || kill -9 -$(cat $p) 2>/dev/null || kill -9 $(cat $p); done"); err != nil {
		return err
	}
	return s.movedTo(ctx, s.b)
}

func serviceLinkCut(ctx context.Context, s *stage) error {
	s.mark()
	if err := s.a.link(ctx, 0, false); err != nil {
		return err
	}
	return s.movedTo(ctx, s.b)
}

func replicationCut(ctx context.Context, s *stage) error {
	s.mark()
	if err := s.a.link(ctx, 1, false); err != nil {
		return err
	}
	if err := s.a.until(ctx, takeover, "! drbdadm cstate "+resource+" | grep -q ^Connected"); err != nil {
		return err
	}
	return s.stays(ctx, s.a, 8*time.Second)
}

func standbyOff(ctx context.Context, s *stage) error {
	s.mark()
	if err := s.b.cut(ctx); err != nil {
		return err
	}
	if err := s.a.until(ctx, takeover, "! drbdadm cstate "+resource+" | grep -q ^Connected"); err != nil {
		return err
	}
	return s.stays(ctx, s.a, 5*time.Second)
}

// hostOff takes valinor's power, and vm-varda's with it: who would fence vm-varda is silent. Without an arbiter varda2's writes stand still until valinor is
// back.
func hostOff(ctx context.Context, s *stage) error {
	s.w.power.hostDown.Store(true)
	s.mark()
	if err := s.b.cut(ctx); err != nil {
		return err
	}
	if err := s.a.until(ctx, takeover, "! drbdadm cstate "+resource+" | grep -q ^Connected"); err != nil {
		return err
	}
	if s.how == withJudge {
		return s.stays(ctx, s.a, 5*time.Second)
	}
	if err := pause(ctx, 20*time.Second); err != nil {
		return err
	}
	if at := s.served().first(time.Now().Add(-10 * time.Second)); !at.IsZero() {
		return fmt.Errorf("a line was acknowledged although nobody could say that vm-varda is off: %w", errEnd)
	}
	s.w.power.hostDown.Store(false) // it is back, and says that vm-varda is off
	return s.more(ctx, silence, 10)
}

func powerCut(ctx context.Context, s *stage) error {
	s.mark()
	if err := s.a.cut(ctx); err != nil {
		return err
	}
	return s.takenOver(ctx)
}

func bothCut(ctx context.Context, s *stage) error {
	s.mark()
	for nic := range 2 {
		if err := s.a.link(ctx, nic, false); err != nil {
			return err
		}
	}
	if err := s.takenOver(ctx); err != nil {
		return err
	}
	if !s.a.on() { // the PDU has answered
		return nil
	}
	for nic := range 2 {
		if err := s.a.link(ctx, nic, true); err != nil {
			return err
		}
	}
	return s.more(ctx, silence, 10)
}

func frozen(ctx context.Context, s *stage) error {
	s.mark()
	if _, err := s.w.kvmctl(ctx, "pause", s.a.name); err != nil {
		return err
	}
	var err error
	if s.how == withSilent { // it asks, and thaws before anybody has looked
		for asked := s.w.power.asked.Load(); err == nil && s.w.power.asked.Load() == asked; {
			err = pause(ctx, 50*time.Millisecond)
		}
	} else {
		err = s.takenOver(ctx)
	}
	if err != nil || !s.a.on() {
		return err
	}
	if _, err := s.w.kvmctl(ctx, "resume", s.a.name); err != nil {
		return err
	}
	s.w.note(s.a.name, "", "thawed")
	return s.more(ctx, silence, 10)
}

func diskFails(ctx context.Context, s *stage) error {
	s.mark()
	if _, err := s.a.sh(ctx, "/lab/disk bad"); err != nil {
		return err
	}
	return s.movedTo(ctx, s.b)
}

// failback takes the power of the primary, and hands back while its disk is not whole yet: that has to be refused.
func failback(ctx context.Context, s *stage) error {
	s.mark()
	if err := s.a.cut(ctx); err != nil {
		return err
	}
	if err := s.movedTo(ctx, s.b); err != nil {
		return err
	}
	if _, err := s.b.sh(ctx, "drbdadm disk-options --c-min-rate=250K "+resource+"; dd if=/dev/urandom of="+share+"/big bs=64k count=60 conv=fsync 2>/dev/null"); err != nil {
		return err
	}
	if err := s.again(ctx, s.a); err != nil {
		return err
	}
	if err := s.a.until(ctx, takeover, "drbdadm cstate "+resource+" | grep -q SyncTarget"); err != nil {
		return err
	}
	if out, err := s.b.sh(ctx, "kvmha switch varda --timeout 5s 2>&1"); err == nil {
		return fmt.Errorf("it was handed over during a resync: %s: %w", out, errEnd)
	} else if s.w.o.debug {
		say("refused: %v", err)
	}
	if role := s.b.says(); role != "active" {
		return fmt.Errorf("vm-varda is %s: %w", role, errEnd)
	}
	if _, err := s.b.sh(ctx, "drbdadm disk-options --c-min-rate=0 "+resource); err != nil { // as fast as it can
		return err
	}
	if err := s.b.until(ctx, takeover, "drbdadm dstate "+resource+" | grep -q ^UpToDate/UpToDate"); err != nil {
		return err
	}
	if _, err := s.b.sh(ctx, "drbdadm adjust "+resource); err != nil {
		return err
	}
	if err := s.a.role(ctx, takeover, "standby"); err != nil {
		return err
	}
	if _, err := s.b.sh(ctx, "kvmha switch varda --timeout 60s"); err != nil {
		return err
	}
	return s.movedTo(ctx, s.a)
}
