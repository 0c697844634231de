package check

import (
	"strings"
	"testing"
)

// Outputs as recorded, each with where it is from.
const (
	// FreeBSD, in salt's and other tools' tests (sample_info_output).
	pfEnabled = `Status: Enabled for 25 days 16:23:32          Debug: Urgent

Hostid:   0x68d01842
Checksum: 0x1d921dc03c175342eebc265ff2573361

State Table                          Total             Rate
  current entries                        2               
  searches                         5165885            2.3/s
  inserts                            94115            0.0/s
  removals                           94113            0.0/s
`
	pfDisabled = "Status: Disabled for 0 days 00:00:02              Debug: Urgent\n" // print_status

	// OPNsense 26 (FreeBSD 14) with the options line, in a monitoring plugin's tests.
	pfsyncNew = "pfsync0: flags=1000041<UP,RUNNING,LOWER_UP> metric 0 mtu 1500\n\toptions=0\n\tsyncdev: igb4 syncpeer: 203.0.113.1 maxupd: 128 defer: off version: 1500\n\tsyncok: 1\n\tgroups: pfsync\n"
	// pfSense 2.1 (FreeBSD 8), where pfsync was never set up: ifconfig -a in a published write-up.
	pfsyncOff = "pfsync0: flags=0<> metric 0 mtu 1460\n        syncpeer: 224.0.0.240 maxupd: 128 syncok: 1\n"
	// The Book of PF's example, as its text and OpenBSD's and FreeBSD's pfsync(4) of that time have it.
	pfsyncOld = "pfsync0: flags=41<UP,RUNNING> mtu 1500\n        priority: 0\n        pfsync: syncdev: ep2 syncpeer: 10.0.12.16 maxupd: 128 defer: off\n        groups: carp pfsync\n"
)

func TestPF(t *testing.T) {
	for _, tt := range []struct{ name, out, want string }{
		{"enabled", pfEnabled, ""},
		{"disabled", pfDisabled, "pf is disabled: pfctl -e"},
		{"after a warning", "No ALTQ support in kernel\nALTQ related functions disabled\n" + pfEnabled, ""},
		{"another word", "Status: Wedged for 1 day\n", `pf says of its status "Wedged for 1 day"`},
		{"nothing", "", "pfctl -si tells no status"},
		{"garbage", strings.Repeat("\x00\xff", 100000) + pfEnabled, "pfctl -si tells no status"},
	} {
		if got := answerOf(judgePF([]byte(tt.out))).Reason; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPFSync(t *testing.T) {
	for _, tt := range []struct{ name, out, want string }{
		{"FreeBSD 14", pfsyncNew, ""},
		{"tells no syncok", pfsyncOld, ""},
		{"down", pfsyncOff, "pfsync0 is down: ifconfig pfsync0 up"},
		{"up, but to nobody", strings.Replace(pfsyncOff, "flags=0<>", "flags=41<UP,RUNNING>", 1), "pfsync0 has no syncdev: the states are passed on to nobody"},
		{"states are missing", strings.Replace(pfsyncNew, "syncok: 1", "syncok: 0", 1), `pfsync0 has not got the states of the other side yet (syncok: "0")`},
		{"another interface", strings.ReplaceAll(pfsyncNew, "pfsync0", "pfsync1"), "ifconfig tells no flags of pfsync0"},
		{"cut off", "pfsync0: flags=41<UP,RUN", "ifconfig tells no flags of pfsync0"},
		{"nothing", "", "ifconfig tells no flags of pfsync0"},
	} {
		if got := answerOf(judgePFSync("pfsync0", []byte(tt.out))).Reason; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzPF(f *testing.F) {
	for _, s := range []string{pfEnabled, pfDisabled, pfsyncNew, pfsyncOff, pfsyncOld, "pfsync0: flags=<>\nsyncdev:"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		for _, err := range []error{judgePF(out), judgePFSync("pfsync0", out)} {
			if a := answerOf(err); err != nil && (a.Reason == "" || strings.ContainsAny(a.Reason, "\n\x1b")) {
				t.Errorf("%q", a.Reason)
			}
		}
		if judgePF(out) == nil && !strings.Contains(string(out), "Status: Enabled") {
			t.Errorf("enabled: %q", out)
		}
	})
}

func TestPFIsNotHere(t *testing.T) {
	for want, s := range map[string]Spec{
		"there is no pf on this system: unsupported operation":                      PF{},
		"look at pfsync0: there is no pfsync on this system: unsupported operation": PFSync{Interface: "pfsync0"},
	} {
		if _, err := s.Probe(Env{}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for _, bad := range []string{"", "em0", "pfsync", "pfsync0x"} {
		if (PFSync{Interface: bad}).Validate() == nil {
			t.Errorf("%q is valid", bad)
		}
	}
}

func BenchmarkPF(b *testing.B) {
	for b.Loop() {
		if judgePF([]byte(pfEnabled)) != nil || judgePFSync("pfsync0", []byte(pfsyncNew)) != nil {
			b.Fatal("not well")
		}
	}
}
