package hostcmd

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/vm"
)

func TestWhatToWaitFor(t *testing.T) {
	for in, want := range map[string]string{
		"running": "", "stopped": "", "ready": "", "agent": "", "ping": "", "tcp:22": "", "tcp:65535": "", "console:login: $": "",
		"":                                     `"" is none of running, stopped, ready, agent, ping, tcp:PORT, console:REGEX`,
		"up":                                   `"up" is none of running, stopped, ready, agent, ping, tcp:PORT, console:REGEX`,
		"running:now":                          "running takes no argument",
		"tcp":                                  `bad port "": want tcp:1 to tcp:65535`,
		"tcp:0":                                `bad port "0": want tcp:1 to tcp:65535`,
		"tcp:65536":                            `bad port "65536": want tcp:1 to tcp:65535`,
		"tcp:ssh":                              `bad port "ssh": want tcp:1 to tcp:65535`,
		"tcp:-1":                               `bad port "-1": want tcp:1 to tcp:65535`,
		"console:":                             "console: wants an expression of 1 to 4096 bytes",
		"console:(":                            "error parsing regexp: missing closing ): `(?m)(`",
		"console:" + strings.Repeat("x", 4097): "console: wants an expression of 1 to 4096 bytes",
	} {
		_, err := parseGoal(in)
		if got := errText(err); got != want {
			t.Errorf("%.40q: %s, want %s", in, got, want)
		}
	}
	g, err := parseGoal("console:^login: $")
	if err != nil {
		t.Fatal(err)
	}
	if re, err := g.sign.Regexp(); err != nil || !re.MatchString("Debian\nlogin: ") || re.MatchString("Last login: ") {
		t.Errorf("^ and $ are not the ends of a line: %+v, %v", g, err)
	}
	if g, err := parseGoal("tcp:22"); err != nil || g != (goal{goalSign, vm.Ready{Kind: vm.ReadyTCP, Port: 22}}) {
		t.Errorf("tcp:22 is %+v, %v", g, err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

const help = "announce_self [interfaces] [id] -- Trigger GARP/RARP announcements\r\n" +
	"block_job_cancel [-f] device -- stop an active background block operation (use -f\r\n\t\t\t if you want to abort\r\n" +
	"cont|c  -- resume emulation\r\n" +
	"drive_add [-n] [[<domain>:]<bus>:]<slot>\r\n[file=file][,if=type][,bus=n]\r\n" +
	"help|? [cmd] -- show the help\r\n" +
	"i /fmt addr -- I/O port read\r\n" +
	"info [subcommand] -- show various information about the system state\r\n" +
	"\r\n-- odd\r\n" +
	"quit|q  -- quit the emulator\r\n"

func TestHelpGivesTheCommands(t *testing.T) {
	want := []string{"announce_self", "block_job_cancel", "cont", "drive_add", "help", "i", "info", "quit"}
	if d := cmp.Diff(want, parseHelp(help, "")); d != "" {
		t.Error(d)
	}
	out := "info balloon  -- show balloon information\r\ninfo block [-n] [-v] [device] -- show info of one block device\r\nhelp x\r\n"
	if d := cmp.Diff([]string{"balloon", "block"}, parseHelp(out, "info ")); d != "" {
		t.Error(d)
	}
}

func FuzzHelpGivesWords(f *testing.F) {
	f.Add(help)
	f.Fuzz(func(t *testing.T, out string) {
		for _, w := range parseHelp(out, "") {
			if w == "" || strings.ContainsAny(w, " |\t\r\n\x1b") {
				t.Fatalf("%q has the command %q", out, w)
			}
		}
	})
}

func TestTabCompletesCommands(t *testing.T) {
	w := hmpWords{commands: []string{"cont", "cpu", "info", "quit"}, info: []string{"block", "block-jobs", "status"}}
	for _, c := range []struct {
		line, want string
		pos, to    int
		choice     []string
	}{
		{"co", "cont ", 2, 5, nil},
		{"c", "c", 1, 1, []string{"cont", "cpu"}},
		{"", "", 0, 0, []string{"cont", "cpu", "info", "quit"}},
		{"x", "x", 1, 1, nil},
		{"info s", "info status ", 6, 12, nil},
		{"info b", "info block", 6, 10, nil},
		{"info block", "info block", 10, 10, []string{"block", "block-jobs"}},
		{"help q", "help quit ", 6, 10, nil},
		{"cont c", "cont c", 6, 6, nil},
		{"q 5", "quit  5", 1, 5, nil},
	} {
		line, pos, choice := w.complete(c.line, c.pos)
		if line != c.want || pos != c.to || cmp.Diff(c.choice, choice) != "" {
			t.Errorf("%q at %d became %q at %d, choice %q; want %q at %d, %q", c.line, c.pos, line, pos, choice, c.want, c.to, c.choice)
		}
	}
}

func TestErrorsOfTheHumanMonitor(t *testing.T) {
	for out, want := range map[string]string{
		"VM status: running\r\n":                     "",
		"":                                           "",
		"unknown command: 'info nosuch'\r\n":         "unknown command: 'info nosuch'",
		"Error: Device 'foo' not found\r\n":          "Device 'foo' not found",
		"Error: \x1b[31mred\r\n":                     "\uFFFD[31mred",
		"Try \"help x\" for more information\r\n":    "",
		"device: Error: in the middle of a line\r\n": "",
		"block0: /images/Error: odd.qcow2 (qcow2)":   "",
		"device_del: string expected\r\nTry \"help device_del\" for more information\r\n": "device_del: string expected",
	} {
		if got := hmpError(out); got != want {
			t.Errorf("%q: error %q, want %q", out, got, want)
		}
	}
}

func TestTextForATerminal(t *testing.T) {
	in := "a\tb\r\n\x1b[2Jc\u009bd\r\n"
	if got, want := text(in, true), "a\tb\n\uFFFD[2Jc\uFFFDd\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := text(in, false), "a\tb\n\x1b[2Jc\u009bd\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheFirstInstalledViewer(t *testing.T) {
	have := func(names ...string) func(string) string {
		return func(name string) string {
			for _, n := range names {
				if n == name {
					return "/bin/" + name
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		at   string
		find func(string) string
		want []string
	}{
		{"127.0.0.1:5901", have(), nil},
		{"127.0.0.1:5901", have("vncviewer", "remote-viewer", "gvncviewer"), []string{"/bin/remote-viewer", "vnc://127.0.0.1:5901"}},
		{"0.0.0.0:5901", have("gvncviewer", "vncviewer"), []string{"/bin/gvncviewer", "127.0.0.1:1"}},
		{"[::]:5999", have("vncviewer"), []string{"/bin/vncviewer", "[::1]::5999"}},
		{"10.2.0.1:5999", have("vncviewer"), []string{"/bin/vncviewer", "10.2.0.1::5999"}},
	} {
		if d := cmp.Diff(c.want, viewer(netip.MustParseAddrPort(c.at), c.find)); d != "" {
			t.Errorf("%s: %s", c.at, d)
		}
	}
}

func TestTheWayToAScreen(t *testing.T) {
	for at, want := range map[string]string{
		"127.0.0.1:5901": "from your desktop: ssh -N -L 5901:127.0.0.1:5901 root@varda, then: remote-viewer vnc://127.0.0.1:5901",
		"[::1]:5901":     "from your desktop: ssh -N -L 5901:[::1]:5901 root@varda, then: remote-viewer vnc://127.0.0.1:5901",
		"0.0.0.0:5901":   "from your desktop: ssh -N -L 5901:127.0.0.1:5901 root@varda, then: remote-viewer vnc://127.0.0.1:5901",
		"10.2.0.1:5901":  "from your desktop: remote-viewer vnc://10.2.0.1:5901",
	} {
		if got := tunnel(netip.MustParseAddrPort(at), "root", "varda"); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}

func TestTheLastWordsBeginWithALine(t *testing.T) {
	long := strings.Repeat("x", lastWords)
	for in, want := range map[string]string{"short\nb": "short\nb", long + "\nb": "b", long: long, long + "\n": long + "\n"} {
		if got := string(wholeLines([]byte(in))); got != want {
			t.Errorf("%.20q… gave %.20q…, want %.20q…", in, got, want)
		}
	}
}

func TestFactsInWords(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	later := at.Add(2 * time.Hour)
	event := func(name, data string) vm.Fact {
		return vm.Fact{Kind: vm.KindEvent, Event: name, Data: json.RawMessage(data)}
	}
	for _, c := range []struct {
		fact      vm.Fact
		what, why string
	}{
		{vm.Fact{Kind: vm.KindStart, By: "root, kvmctl start", PID: 12}, "started", "by root, kvmctl start; pid 12"},
		{vm.Fact{Kind: vm.KindStop, Reason: "acpi", By: "root, kvmctl stop"}, "stop", "pressed the power button, by root, kvmctl stop"},
		{vm.Fact{Kind: vm.KindStop, Reason: "sigkill"}, "stop", "sent SIGKILL"},
		{vm.Fact{Kind: vm.KindEnd, State: vm.StateStopped, Reason: "guest shut down"}, "stopped", "guest shut down"},
		{vm.Fact{Kind: vm.KindEnd, State: vm.StateCrashed, Reason: "QEMU ended without a word", Time: at, Noticed: &later}, "crashed", "QEMU ended without a word (noticed 2h0m later)"},
		{vm.Fact{Kind: vm.KindFence, Reason: "for varda2", PID: 12, By: "root, kvmctl fence", Request: "0123"}, "fenced", "for varda2, killed (pid 12); by root, kvmctl fence; request 0123"},
		{vm.Fact{Kind: vm.KindFence, Reason: "for varda2", By: "root, kvmctl fence", Request: "0123"}, "fenced", "for varda2, was stopped already; by root, kvmctl fence; request 0123"},
		{vm.Fact{Kind: vm.KindUnhold, Reason: "it was fenced for varda2 at 2026-03-01 12:00:00", By: "frodo, kvmctl unhold"}, "let go", "it was fenced for varda2 at 2026-03-01 12:00:00; by frodo, kvmctl unhold"},
		{vm.Fact{Kind: vm.KindLogFull, Reason: "the recorder was full: events are missing"}, "log full", "the recorder was full: events are missing"},
		{vm.Fact{Kind: vm.KindHook, Reason: "post_start: exit status 1"}, "hook", "post_start: exit status 1"},
		{event("SHUTDOWN", `{"guest":true,"reason":"guest-shutdown"}`), "shutdown", "the guest shut down"},
		{event("SHUTDOWN", `{"guest":false,"reason":"new-reason"}`), "shutdown", "new-reason"},
		{event("RESET", `{"guest":true,"reason":"guest-reset"}`), "reset", "the guest asked for it"},
		{event("GUEST_PANICKED", `{"action":"poweroff","info":{}}`), "panic", "poweroff"},
		{event("BLOCK_IO_ERROR", `{"device":"","node-name":"d0","operation":"write","action":"stop","nospace":true,"reason":"No space left on device"}`),
			"disk error", "a device write: No space left on device; stop; no space left on the host"},
		{event("VSERPORT_CHANGE", `{"open":true,"id":"agent0"}`), "guest agent", "opened its channel"},
		{event("VSERPORT_CHANGE", `{"open":true,"id":"x"}`), "vserport_change", `{"open":true,"id":"x"}`},
		{event("VNC_CONNECTED", `{"client":{"host":"127.0.0.1"}}`), "VNC", "connection from 127.0.0.1"},
		{event("RTC_CHANGE", `{"offset":-3}`), "clock", "the guest set its clock, -3 s from the host's"},
		{event("STOP", ""), "paused", ""},
		{event("NEW_THING", `{"a": [1, 2]}`), "new_thing", `{"a":[1,2]}`},
		{event("NEW_THING", `[1]`), "new_thing", `[1]`},
		{event("NEW_THING", `{"a":"`+strings.Repeat("ü", 200)+`"}`), "new_thing", `{"a":"` + strings.Repeat("ü", 97) + "…"},
		{vm.Fact{Kind: vm.KindEvent, Event: "STOP", Count: 3, Until: &later}, "paused", "3 times, until 2026-03-01 14:00:00"},
		{vm.Fact{Kind: vm.KindEvent, Event: "RESET", Count: 2, Data: json.RawMessage(`{"reason":"guest-reset"}`)}, "reset", "the guest asked for it; 2 times"},
	} {
		if what, why := wordFact(c.fact); what != c.what || why != c.why {
			t.Errorf("%+v:\n%q, %q, want\n%q, %q", c.fact, what, why, c.what, c.why)
		}
	}
}
