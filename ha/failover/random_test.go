package failover

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// auditor watches the effects of a bench in their order and says what breaks a promise: S4 and S6 of FAILOVER.md, and that nothing rests half way.
type auditor struct {
	cfg     Config
	b       *bench
	role    Role
	held    bool
	ends    time.Time // when the kernel deletes what is held and not refreshed any more (lease.md: 2.32 s); zero: it is refreshed
	listens bool
	open    map[string]bool // alerts
	firsts  map[string]int
	notices int
	up      map[string]bool // units that were started and not stopped since
	owed    map[string]bool // units whose stop is owed: once started, until stopped
	loose   bool            // they may stay owed at rest: at the beginning, and after a freeze
	checked bool            // the checks were green in this promote
	right   bool            // it was granted in this promote
	primary map[string]bool // resources and file systems that this promote has come to
	out     map[uint64]Step // begun, neither cancelled nor answered
	wrong   []string
}

func audit(b *bench) *auditor {
	a := &auditor{
		cfg: b.m.cfg, b: b, open: map[string]bool{}, firsts: map[string]int{}, up: map[string]bool{}, owed: map[string]bool{}, out: map[uint64]Step{},
		loose: true, primary: map[string]bool{},
	}
	for _, r := range a.cfg.Resources {
		a.owed["secondary "+r.Name] = true
	}
	for _, o := range a.cfg.Mounts {
		a.owed["unmount "+o.Dir] = true
	}
	for _, u := range a.cfg.Units {
		a.owed[u.Name] = true
	}
	b.log = func(_ time.Duration, e Effect) { a.effect(e) }
	b.seen = a.result
	return a
}

func (a *auditor) bad(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Sprintf("at %v, %v: ", a.b.now.Sub(began), a.role)+fmt.Sprintf(format, args...))
}

// before reports whether one stage stands before another in the order.
func (a *auditor) before(x, y Stage) bool {
	i, j := slices.Index(a.cfg.Order, x), slices.Index(a.cfg.Order, y)
	return i >= 0 && i < j
}

func (a *auditor) begun(s Step) {
	for _, o := range a.out {
		a.bad("%v begins while %v is under way", s, o)
	}
	if s.Timeout <= 0 {
		a.bad("%v has no timeout", s)
	}
	a.out[s.ID] = s
}

// here reports whether the addresses are here, as far as the kernel is concerned.
func (a *auditor) here() bool { return a.held && (a.ends.IsZero() || a.b.now.Before(a.ends)) }

func (a *auditor) effect(e Effect) {
	switch e := e.(type) {
	case Run:
		a.begun(e.Step)
		switch e.Kind {
		case KindStart:
			a.owed[e.Name] = true
			if e.Inverse != KindStop {
				a.bad("%v has no inverse", e)
			}
		case KindStop:
			if !a.owed[e.Name] {
				a.bad("%v, which was done already", e)
			}
			if a.here() && a.before(StageUnits, StageAddress) {
				a.bad("%v while the addresses are here", e)
			}
			a.up[e.Name] = false
		}
		a.storage(e.Step)
	case Cancel:
		delete(a.out, e.ID)
	case LeaseHold:
		a.begun(e.Step)
		a.held, a.ends = true, time.Time{}
		if a.role != Promoting && a.role != Active {
			a.bad("%v", e)
		}
		for _, u := range a.cfg.Units {
			if a.before(StageUnits, StageAddress) && !a.up[u.Name] {
				a.bad("S4: %v before %s was started", e, u.Name)
			}
		}
		if len(a.cfg.Checks) > 0 && a.before(StageChecks, StageAddress) && !a.checked {
			a.bad("S4: %v before the checks were green", e)
		}
	case LeaseDrop:
		if a.ends.IsZero() {
			a.ends = a.b.now.Add(2400 * time.Millisecond)
		}
		if e.ID != 0 {
			a.begun(e.Step)
			if !a.held {
				a.bad("%v, which was done already", e)
			}
		}
	case Allow:
		a.listens = true
	case Silence:
		a.listens = false
		if a.here() && e.BowOut {
			a.bad("bows out with the addresses here")
		}
	case Release:
		if a.here() {
			a.bad("releases with the addresses here")
		}
	case Ready:
		if a.role != Promoting || !a.listens {
			a.bad("ready, listening %v", a.listens)
		}
	case Transition:
		a.transition(e)
	case Alert:
		a.alert(e)
	}
}

func (a *auditor) transition(e Transition) {
	if to, ok := transitions[e.From][e.Event]; !ok || to != e.To || e.From != a.role {
		a.bad("%v by %v is not in the table", e, e.Event)
	}
	if e.Cause == "" || len(e.Facts) == 0 || (e.To == Waiting) != (e.Reason != ReasonNone) {
		a.bad("S6: %v without cause, facts or reason", e)
	}
	a.role = e.To
	switch e.To {
	case Promoting:
		a.checked, a.loose, a.right = false, false, false
		clear(a.up)
		clear(a.primary)
		if d, apart := a.b.m.storage.apart(); apart {
			a.bad("promotes %v", d)
		}
		for _, d := range a.b.m.storage.disks {
			if d.State != DiskUpToDate {
				a.bad("S2: promotes with %v", d)
			}
		}
	case Demoting:
		a.loose = e.Event == EventFrozen
	}
}

func (a *auditor) alert(e Alert) {
	key := e.Subject.String() + " " + e.Name
	switch e.Kind {
	case AlertNotice:
		a.notices++
	case AlertFirst:
		if a.open[key] {
			a.bad("%v a second time", e)
		}
		a.open[key] = true
		a.firsts[key]++
	default:
		if !a.open[key] {
			a.bad("%v of nothing", e)
		}
		a.open[key] = e.Kind != AlertEnd
	}
	if len(e.Facts) == 0 {
		a.bad("%v without facts", e)
	}
}

// storage looks at the order of what happens to disks: S2 and S4.
func (a *auditor) storage(s Step) {
	mounted := func() bool {
		for _, o := range a.cfg.Mounts {
			if a.owed["unmount "+o.Dir] && !a.loose {
				return true
			}
		}
		return false
	}
	switch s.Kind {
	case KindPrimary:
		if !a.right || a.role != Promoting {
			a.bad("S2: %v, the right was granted: %v", s, a.right)
		}
		a.owed["secondary "+s.Name] = true
	case KindMount:
		for _, r := range a.cfg.Resources {
			if !a.primary[r.Name] {
				a.bad("S4: %v before %s is primary", s, r.Name)
			}
		}
		a.owed["unmount "+s.Name] = true
	case KindStart:
		for _, o := range a.cfg.Mounts {
			if !a.primary[o.Dir] {
				a.bad("S4: %v before %s is mounted", s, o.Dir)
			}
		}
	case KindUnmount:
		for _, u := range a.cfg.Units {
			if a.owed[u.Name] {
				a.bad("%v before %s was stopped", s, u.Name)
			}
		}
	case KindSecondary:
		if mounted() {
			a.bad("%v while something is mounted", s)
		}
	case KindUp:
		if a.role != Waiting {
			a.bad("%v", s)
		}
	}
}

// result is called before the machine is told how a step ended.
func (a *auditor) result(r Result) {
	s, ok := a.out[r.ID]
	if !ok {
		return // it was cancelled
	}
	delete(a.out, r.ID)
	switch s.Kind {
	case KindStart:
		a.up[s.Name] = r.Outcome == Done
	case KindStop, KindKill:
		if r.Outcome == Done {
			a.owed[s.Name] = false
		}
	case KindRight:
		a.right = r.Outcome == Done
	case KindPrimary, KindMount:
		a.primary[s.Name] = r.Outcome == Done
	case KindSecondary, KindUnmount:
		if r.Outcome == Done {
			a.owed[s.act()] = false
		}
	case KindChecks:
		a.checked = a.checked || r.Outcome == Done
	case KindDrop:
		if r.Outcome == Done {
			a.held = false
		}
	}
}

// rest looks at the machine after a Step.
func (a *auditor) rest() {
	m := a.b.m
	if a.role != m.role {
		a.bad("the transitions said %v, the machine says %v", a.role, m.role)
	}
	if (m.role == Promoting || m.role == Demoting) && (!m.job.running && m.job.pause.IsZero() || m.Next().IsZero()) {
		a.bad("rests without a step, Next %v", m.Next())
	}
	if (m.held || a.here()) && m.role.rests() && m.role != Stuck {
		a.bad("S4: the addresses are here")
	}
	if m.role == Stuck && a.held && a.ends.IsZero() {
		a.bad("S4: stuck, and the addresses are refreshed")
	}
	if (m.role == Waiting || m.role == Stuck) && a.listens {
		a.bad("CARP may contend")
	}
	if m.role == Standby && !a.listens {
		a.bad("CARP is silent")
	}
	if (m.role == Standby || m.role == Waiting) && !a.loose && !m.job.running {
		for name, owed := range a.owed {
			if owed {
				a.bad("%s was not stopped", name)
			}
		}
	}
	if a.b.most > 60 {
		a.bad("%d effects in one Step", a.b.most)
	}
	windows := 1 + int(a.b.now.Sub(began)/calm)
	for key, n := range a.firsts {
		if n > 2*windows {
			a.bad("S6: %d alerts about %s in %v", n, key, a.b.now.Sub(began))
		}
	}
	if a.notices > noticeMax*windows {
		a.bad("S6: %d notices in %v", a.notices, a.b.now.Sub(began))
	}
}

func randomConfig(t *rapid.T) Config {
	cfg := plain()
	cfg.Order = rapid.SampledFrom([][]Stage{
		cfg.Order, cfg.Order, {StageAddress, StageAnnounce, StageUnits, StageChecks, StageHooks}, {StageUnits, StageAddress, StageChecks, StageHooks, StageAnnounce},
		{StageHooks, StageUnits, StageChecks, StageAddress},
	}).Draw(t, "order")
	cfg.Units = cfg.Units[:rapid.IntRange(0, 2).Draw(t, "units")]
	cfg.Checks = cfg.Checks[:rapid.IntRange(0, 2).Draw(t, "checks")]
	cfg.Restarts = rapid.IntRange(0, 2).Draw(t, "restarts")
	cfg.Damping.Moves = rapid.IntRange(0, 3).Draw(t, "moves")
	if rapid.Bool().Draw(t, "storage") {
		cfg.Order = append([]Stage{StageDRBD, StageMounts}, cfg.Order...)
		cfg.Resources = []Resource{{"r0", 90 * time.Second, 10 * time.Second, 10 * time.Second}, {"r1", 90 * time.Second, 10 * time.Second, 10 * time.Second}}
		cfg.Mounts = []Mount{{"/srv", time.Minute, 30 * time.Second}}
		cfg.RightTimeout = time.Minute
	}
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	cfg.Probe, cfg.Preempt, cfg.Stay, cfg.IgnoreCarrier = flag("probe"), flag("preempt"), flag("stay"), flag("ignore carrier")
	cfg.Hooks = Hooks{Active: flag("hook active"), Standby: flag("hook standby"), Waiting: flag("hook waiting"), Timeout: 10 * time.Second}
	return cfg
}

func randomInput(t *rapid.T) Input {
	addr := netip.MustParseAddr("10.2.0.10")
	on := rapid.Bool().Draw(t, "on")
	why := map[bool]string{true: "why"}[on]
	return rapid.SampledFrom([]Input{
		Elected{BySilence}, Elected{BySilence}, Elected{ByBowOut}, Elected{ByPreempt}, Elected{ByHandOver}, Elected{ByPeerQuiet}, Wanted{"b"}, Peer{Fit: true}, Deposed{By: "b", Cause: "better"}, PeerActive{"b"}, Peer{Worse: on},
		Misconfigured{why}, Carrier{on}, Carrier{true}, Interface{on}, Interface{true}, Isolated{On: on},
		Checked{Name: "http", State: Green}, Checked{Name: "http", State: Red, Why: "w"}, Checked{Name: "gateway", State: Green},
		Checked{Name: "gateway", State: Green}, Checked{Name: "gateway", State: Red}, Checked{Name: "gateway"}, UnitDied{"db", "w"}, UnitDied{"httpd", "w"}, UnitRuns{"db"},
		Result{ID: 1}, Result{ID: 3, Outcome: Failed}, Maintenance{on}, Maintenance{false}, Switch{ID: 1, Force: on}, Restart{ID: 2}, Freeze{time.Second},
		Disk{Name: "r0", State: DiskUpToDate, PeerUpToDate: on}, Disk{Name: "r1", State: DiskUpToDate, PeerUpToDate: true}, Disk{Name: "r0", State: DiskFailed, PeerUpToDate: on},
		Disk{Name: "r0", State: DiskUpToDate, Apart: ApartSplit}, Disk{Name: "r1", State: DiskWaits, Syncing: on}, Disk{Name: "r1", State: DiskUpToDate, Syncing: true},
		Right{State: RightYes}, Right{State: RightYes}, Right{State: RightAsk, Why: why}, Right{State: RightNo, Why: "w"}, Right{State: RightLost, Why: "w"},
		AddressLost{addr}, AddressFound{addr, why}, AddressTaken{addr, "m"}, Turn{},
	}).Draw(t, "input")
}

func TestRandomFacts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(randomConfig(t))
		a := audit(b)
		judge := func() {
			a.rest()
			if len(a.wrong) > 0 {
				t.Fatalf("%s\n\n%v", a.wrong[0], b)
			}
		}
		if rapid.Bool().Draw(t, "begins fit") {
			b.fit()
		}
		acts := []string{
			"", "start db", "start httpd", "stop db", "stop httpd", "kill httpd", "restart httpd", "checks", "probe", "hold", "drop", "hook active",
			"hook standby", "hook waiting", "right", "primary r0", "primary r1", "secondary r0", "mount /srv", "unmount /srv", "up r0",
		}
		for range rapid.IntRange(1, 60).Draw(t, "length") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				act := rapid.SampledFrom(acts).Draw(t, "act")
				b.answers[act] = rapid.SampledFrom([]answer{
					{}, {}, {takes: time.Second}, {takes: 10 * time.Second}, {outcome: Failed, why: "w"}, {hangs: true}, {dead: true},
				}).Draw(t, "answer")
				b.clock()
			case 1, 2:
				d := rapid.SampledFrom([]time.Duration{time.Millisecond, 500 * time.Millisecond, 3 * time.Second, 20 * time.Second, 10 * time.Minute}).Draw(t, "time")
				if err := b.advance(d); err != nil {
					t.Fatalf("%v\n\n%v", err, b)
				}
			default:
				b.tell(randomInput(t))
			}
			judge()
		}
		// Everything is mended, and whoever is asked for becomes active.
		clear(b.answers)
		b.answers[""] = answer{}
		b.clock()
		for _, in := range []Input{
			Maintenance{}, Misconfigured{}, Isolated{}, Interface{true}, Carrier{true}, Peer{}, Checked{Name: "http", State: Green},
			Checked{Name: "gateway", State: Green}, Disk{Name: "r0", State: DiskUpToDate}, Disk{Name: "r1", State: DiskUpToDate}, Right{State: RightYes},
		} {
			b.tell(in)
			judge()
		}
		if err := b.advance(2 * time.Hour); err != nil {
			t.Fatalf("%v\n\n%v", err, b)
		}
		b.tell(Elected{BySilence})
		if err := b.advance(time.Minute); err != nil {
			t.Fatalf("%v\n\n%v", err, b)
		}
		judge()
		if s := b.m.Status(); s.Role != Active {
			t.Fatalf("all is well, and it is %+v\n\n%v", s, b)
		}
		b.tell(Stop{})
		if err := b.advance(time.Minute); err != nil {
			t.Fatalf("%v\n\n%v", err, b)
		}
		judge()
		if last := b.all[len(b.all)-1]; last != (Stopped{Clean: true}) {
			t.Fatalf("told to stop, it ends with %v\n\n%v", last, b)
		}
	})
}
