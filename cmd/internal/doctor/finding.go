package doctor

import "fmt"

// Level says how much a finding matters.
type Level string

// The levels. Notes are worth knowing and call for nothing; warnings and errors do.
const (
	OK      Level = "ok"
	Note    Level = "note"
	Warning Level = "warning"
	Error   Level = "error"
)

// Calls reports whether something ought to be done.
func (l Level) Calls() bool { return l == Warning || l == Error }

// Act is something that can be mended without a risk.
type Act string

// The safe acts; Fix.Object names what they are done to.
const (
	ClearAway  Act = "clear away"  // a guest that ended, with the hooks that are due
	DropLock   Act = "drop lock"   // a lock file that nobody holds and nobody needs
	DropTAP    Act = "drop tap"    // a TAP that no process has open and whose guest does not run
	DropImages Act = "drop images" // images in a directory that were never finished
)

// Fix is the safe way to mend a finding.
type Fix struct {
	Act    Act
	Object string
}

// Finding is one thing that was looked at.
type Finding struct {
	Check   string `json:"check"`
	Level   Level  `json:"level"`
	About   string `json:"about,omitempty"` // a guest, a file, an interface
	Message string `json:"message"`
	Type    string `json:"type,omitempty"` // what to type
	Fixable bool   `json:"fixable,omitempty"`
	Fixed   string `json:"fixed,omitempty"` // what --fix did
	Failed  string `json:"failed,omitempty"`
	Fix     *Fix   `json:"-"`
}

// report collects the findings of one check.
type report struct {
	check string
	all   []Finding
}

func (r *report) add(l Level, about, typed, format string, args ...any) *Finding {
	r.all = append(r.all, Finding{Check: r.check, Level: l, About: about, Message: fmt.Sprintf(format, args...), Type: typed})
	return &r.all[len(r.all)-1]
}

func (r *report) ok(format string, args ...any) { r.add(OK, "", "", format, args...) }

// fix says that --fix does it, which is then what to type.
func (f *Finding) fix(act Act, object string) {
	f.Fix, f.Fixable = &Fix{act, object}, true
	if f.Type == "" {
		f.Type = "kvmctl doctor --fix"
	}
}

// Judge gives one finding or more for each check, in a fixed order.
func Judge(f *Facts) []Finding {
	var all []Finding
	for _, c := range []struct {
		name  string
		judge func(*Facts, *report)
		sound string
	}{
		{"kvm", judgeKVM, ""},
		{"nesting", judgeNesting, "nothing to say"},
		{"config", judgeConfig, "no mistakes"},
		{"guests", judgeGuests, "none crashed, hangs or waits"},
		{"files", judgeFiles, "all there, and root's"},
		{"macs", judgeMACs, "each is one card's"},
		{"uids", judgeUIDs, "nobody else's"},
		{"limits", judgeLimits, "wide enough"},
		{"bridge-nf", judgeBridgeNF, "frames on bridges pass no firewall of the host's"},
		{"space", judgeSpace, "enough"},
		{"orphans", judgeOrphans, "none"},
		{"foreign", judgeForeign, "no QEMU but ours"},
		{"clock", judgeClock, "ahead of all that was noted"},
	} {
		r := &report{check: c.name}
		c.judge(f, r)
		if len(r.all) == 0 {
			r.ok("%s", c.sound)
		}
		all = append(all, r.all...)
	}
	return all
}
