package carp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// epoch is a time on nobody's clock.
var epoch = time.Time{}.Add(1000 * time.Hour)

// count draws counters that can be told apart.
func count() func() uint64 {
	n := uint64(1) << 32
	return func() uint64 { n += 1 << 16; return n }
}

func config(p Profile, base, skew int) Config {
	return Config{VHID: 42, Base: base, Skew: skew, DeadRatio: 3, Profile: p, Source: netip.MustParseAddr("10.77.1.1"), Authoritative: true, Random: count()}
}

// text is the effects, one a line.
func text(effects []Effect) string {
	var lines []string
	for _, e := range effects {
		lines = append(lines, fmt.Sprint(e))
	}
	return strings.Join(lines, "\n")
}

var drawn uint64

// hear is an advert with a counter of its own.
func hear(from string, base, skew, demote uint8) Received {
	drawn++
	return Received{Claim{From: netip.MustParseAddr(from), TTL: 255, Advert: Advert{VHID: 42, Base: base, Skew: skew, Demote: demote, Counter: drawn}}}
}

// The election table of facts 1.4. Own figures are 1/100 from 10.77.1.1 unless the case says otherwise. U is UCarp@1a9aaf7 src/carp.c, F is
// freebsd-src@2d614aa sys/netinet/ip_carp.c, O is openbsd/src@0000d95 sys/netinet/ip_carp.c.
func TestElectionTable(t *testing.T) {
	const (
		better   = "send advert 1/100\nmaster -> backup: a better master advertises (10.77.0.9)\ndeposed by 10.77.0.9: a better master advertises"
		quietly  = "master -> backup: a better master advertises (10.77.0.9)\ndeposed by 10.77.0.9: a better master advertises"
		announce = "announce against 10.77.0.9"
		answers  = "send advert 1/100\nannounce against 10.77.0.9"
		preempts = "backup -> candidate: the master is worse (10.77.0.9)\nelected silently: the master is worse"
		bowsOut  = "send advert 1/100\nbackup -> candidate: the master bows out (10.77.0.9)\nelected: the master bows out"
		demoted  = "backup -> candidate: the master is demoted (10.77.0.9)\nelected silently: the master is demoted"
	)
	type act struct {
		name    string
		state   State
		from    string
		advert  [3]uint8 // base, skew, demote
		preempt bool
		want    map[Profile]string
	}
	all := func(s string) map[Profile]string { return map[Profile]string{UCARP: s, BSD: s, KVMHA: s} }
	yieldsTo := func(from string) string {
		return fmt.Sprintf("send advert 1/100\nmaster -> backup: an equal master goes before (%[1]s)\ndeposed by %[1]s: an equal master goes before", from)
	}
	equal := func(from string) string {
		return fmt.Sprintf("master -> backup: an equal master advertises (%[1]s)\ndeposed by %[1]s: an equal master advertises", from)
	}
	for _, tt := range []act{
		{"master, peer better by skew (U packethandler: one last advert; F carp_input_c: none)", Master, "", [3]uint8{1, 99, 0}, false,
			map[Profile]string{UCARP: better, BSD: quietly, KVMHA: better}},
		{"master, peer better by base", Master, "", [3]uint8{0, 200, 0}, false, map[Profile]string{UCARP: better, BSD: quietly, KVMHA: better}},
		{"master, peer better but demoted (O: BACKUP unless peer's demote > ours; U, F ignore the byte)", Master, "", [3]uint8{1, 99, 1}, false,
			map[Profile]string{UCARP: better, BSD: answers, KVMHA: better}},
		{"master, equal, 10.77.0.2 (U measured: 10.77.1.1 stays against it; F yields always)", Master, "10.77.0.2", [3]uint8{1, 100, 0}, false,
			map[Profile]string{UCARP: "send advert 1/100\nannounce against 10.77.0.2", BSD: equal("10.77.0.2"), KVMHA: yieldsTo("10.77.0.2")}},
		{"master, equal, 10.77.255.0 (U measured: 10.77.1.1 yields to it)", Master, "10.77.255.0", [3]uint8{1, 100, 0}, false,
			map[Profile]string{UCARP: yieldsTo("10.77.255.0"), BSD: equal("10.77.255.0"), KVMHA: "send advert 1/100\nannounce against 10.77.255.0"}},
		{"master, equal but demoted (O: stays)", Master, "", [3]uint8{1, 100, 3}, false,
			map[Profile]string{UCARP: answers, BSD: answers, KVMHA: yieldsTo("10.77.0.9")}},
		{"master, peer worse (U: gratuitous ARP; F, O ignore it; RFC 9568, 6.4.3: an advert at once)", Master, "", [3]uint8{1, 101, 0}, false, all(answers)},
		{"master, peer bows out", Master, "", [3]uint8{255, 255, 0}, false, all(announce)},
		{"backup, peer worse and preempt (U; F sysctl; O demote >= ours)", Backup, "", [3]uint8{1, 101, 0}, true, all(preempts)},
		{"backup, peer worse, no preempt: timer", Backup, "", [3]uint8{1, 101, 0}, false, all("")},
		{"backup, peer better and preempt: timer", Backup, "", [3]uint8{1, 99, 0}, true, all("")},
		{"backup, equal and preempt: timer (U, F: strictly slower only)", Backup, "", [3]uint8{1, 100, 0}, true, all("")},
		{"backup, the bow-out 255/255 (U, F, O: going to time out)", Backup, "", [3]uint8{255, 255, 0}, false, all(bowsOut)},
		{"backup, the bow-out and preempt: its adverts flow at once", Backup, "", [3]uint8{255, 255, 0}, true, all(bowsOut)},
		{"backup, peer's interval over 3*advbase + skew", Backup, "", [3]uint8{3, 101, 0}, false, all(bowsOut)},
		{"backup, peer's interval just 3*advbase + skew: timer", Backup, "", [3]uint8{3, 100, 0}, false, all("")},
		{"backup, peer demoted, no preempt (O: takes over; U measured and F: stay)", Backup, "", [3]uint8{1, 0, 1}, false,
			map[Profile]string{UCARP: "", BSD: demoted, KVMHA: ""}},
	} {
		for _, p := range []Profile{UCARP, BSD, KVMHA} {
			t.Run(string(p)+"/"+tt.name, func(t *testing.T) {
				m := New(config(p, 1, 100), epoch)
				m.Step(epoch, Allow{tt.preempt})
				if tt.state == Master {
					m.Step(epoch, Ready{Unelected: true})
				}
				from := tt.from
				if from == "" {
					from = "10.77.0.9"
				}
				later := epoch.Add(time.Second)
				if d := cmp.Diff(tt.want[p], text(m.Step(later, hear(from, tt.advert[0], tt.advert[1], tt.advert[2])))); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				if m.Facts().State == Backup && !m.Next().Equal(later.Add(m.cfg.Dead())) {
					t.Errorf("it waits until %v, want the whole dead time", m.Next().Sub(later))
				}
			})
		}
	}
}

func TestFiguresOfTime(t *testing.T) {
	for _, tt := range []struct {
		name           string
		base, skew     int
		ratio          int
		interval, dead string
	}{
		{"1/0", 1, 0, 3, "1s", "3s"},
		{"1/100 (facts 1.4: theory 1.3906)", 1, 100, 3, "1.390625s", "3.390625s"},
		{"1/240", 1, 240, 3, "1.9375s", "3.9375s"},
		{"2/254, ucarp -r 5", 2, 254, 5, "2.9921875s", "10.9921875s"},
		{"0/0 (OpenBSD carp_setrun)", 0, 0, 3, "3.90625ms", "11.71875ms"},
		{"0/25 (OpenBSD carp_setrun: 3*advskew/256)", 0, 25, 3, "97.65625ms", "292.96875ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{Base: tt.base, Skew: tt.skew, DeadRatio: tt.ratio}
			if got := [2]string{c.Interval(tt.skew).String(), c.Dead().String()}; got != [2]string{tt.interval, tt.dead} {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestDemotion(t *testing.T) {
	for _, tt := range []struct {
		name           string
		profile        Profile
		skew, demotion int
		hampered       bool
		want           int
	}{
		{"none", UCARP, 100, 0, false, 100},
		{"added", UCARP, 100, 20, false, 120},
		{"clamped at 240 (F CARP_MAXSKEW)", UCARP, 100, 240, false, 240},
		{"negative, clamped at 0 (F; tests/sys/netinet/carp.sh negative_demotion)", BSD, 100, -200, false, 0},
		{"sending fails: 240 (U carp_suppress_preempt, F senderr_demotion_factor)", UCARP, 0, 0, true, 240},
		{"both, as F adds them up", BSD, 100, -200, true, 140},
		{"configured over 240, never made better by failing", UCARP, 250, 0, true, 250},
		{"configured over 240, clamped by F's DEMOTE_ADVSKEW even without demotion", BSD, 250, 0, false, 240},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := New(config(tt.profile, 1, tt.skew), epoch)
			m.Step(epoch, Demote{tt.demotion})
			m.facts.Hampered = tt.hampered
			if got := m.Facts().Skew; got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	v4, v6 := addrs("10.77.0.250"), addrs("10.77.0.250", "2001:db8::1")
	for _, tt := range []struct {
		name  string
		cfg   Config
		addrs []netip.Addr
		want  string
	}{
		{"toward ucarp", config(UCARP, 1, 100), v4, ""},
		{"advbase 0 toward kvmha", config(KVMHA, 0, 25), v6, ""},
		{"advbase 0 toward ucarp", config(UCARP, 0, 25), v4, "advbase is 0 toward ucarp, which then waits for one advert only, and flaps"},
		{"advbase 0 toward FreeBSD", config(BSD, 0, 25), v4, "advbase is 0 toward FreeBSD, which refuses it"},
		{"two addresses toward ucarp", config(UCARP, 1, 0), v6, "addresses are not one IPv4 address, the only thing that ucarp signs"},
		{"all at once", Config{Base: 256, Skew: 255, Profile: "vrrp"}, nil, "vhid is 0: it goes from 1 to 255\n" +
			"advbase is 256: it goes from 0 to 255 seconds\nadvskew is 255: it goes from 0 to 254\ndead ratio is 0: it goes from 1 to 255\n" +
			"profile is \"vrrp\": it is \"ucarp\", \"bsd\" or \"kvmha\"\nrandom is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.cfg.Validate(tt.addrs); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}
