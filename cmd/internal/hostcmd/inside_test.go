package hostcmd

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
	"kvmctl/vm/qmp"
	"kvmctl/vm/vmtest"
)

// waitConsole waits until a guest said something.
func waitConsole(t *testing.T, h *vm.Host, pattern string) {
	t.Helper()
	if code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "console:"+pattern, "--timeout", "60s"); code != 0 {
		t.Fatalf("%s\n%s", talk, consoleOf(t, h))
	}
}

// untilInside waits until a line of shell is true in the guest.
func untilInside(t *testing.T, h *vm.Host, line string) {
	t.Helper()
	for until := time.Now().Add(vmtest.Patience); ; {
		code, _, talk := kvmctl(t, h, "", "exec", olorin, "--", "sh", "-c", line)
		if code == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: exit code %d, %s", line, code, talk)
		}
	}
}

func consoleOf(t *testing.T, h *vm.Host) string {
	_, out, _ := kvmctl(t, h, "", "console", olorin, "--replay")
	return out
}

func TestCommandsAndKeysReachTheInsideOfAGuest(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	spec := vmtest.WithAgent(t, vmtest.Spec(t, h, olorin))
	configure(t, h, spec)
	vmtest.Start(t, h, spec)
	waitConsole(t, h, "^guest ready after")
	if code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "agent"); code != 0 {
		t.Fatal(talk)
	}
	t.Run("output and exit codes", func(t *testing.T) {
		tests := []struct {
			name, stdin     string
			args            []string
			code            int
			out, talk, hint string
		}{
			{"both streams", "", []string{"--", "sh", "-c", "echo out; echo err >&2; exit 3"}, 3, "out\n", "err\n", ""},
			{"a killed one", "", []string{"--", "sh", "-c", "kill -9 $$"}, 137, "", "", ""},
			{"binary", "", []string{"--", "printf", `\000\377\r\n\001`}, 0, "\x00\xff\r\n\x01", "", ""},
			{"no input without --stdin", "lost", []string{"--", "cat"}, 0, "", "", ""},
			{"input", "a\x00b\xff", []string{"--stdin", "--", "cat"}, 0, "a\x00b\xff", "", ""},
			{"empty input", "", []string{"--stdin", "--", "cat"}, 0, "", "", ""},
			{"its own flags", "", []string{"--", "echo", "--stdin", "--", "-n"}, 0, "--stdin -- -n\n", "", ""},
		}
		for _, tt := range tests {
			code, out, talk := kvmctl(t, h, tt.stdin, append([]string{"exec", olorin}, tt.args...)...)
			if code != tt.code || out != tt.out || talk != tt.talk {
				t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %d, %q, %q", tt.name, code, out, talk, tt.code, tt.out, tt.talk)
			}
		}
	})
	t.Run("our own failures are 125", func(t *testing.T) {
		for want, args := range map[string][]string{
			`error: cannot run a command in vm-olorin: run "guest-exec" in the guest: .*nosuch.*` + "\nkvmctl: hint: kvmctl exec vm-olorin -- sh -c 'command -v /bin/nosuch'": {olorin, "--", "/bin/nosuch"},
			`error: cannot run kvmctl exec: want one guest, --, and a command` + "\nkvmctl: hint: kvmctl exec <vm> -- <command>":                                              {olorin, "true"},
			`error: cannot run kvmctl exec: unknown flag: --nosuch` + "\nkvmctl: hint: kvmctl exec --help":                                                                    {olorin, "--nosuch", "--", "true"},
			`error: cannot run a command in vm-olorim: .*`:                                                               {"vm-olorim", "--", "true"},
			`error: cannot run a command in vm-olorin: --timeout -1s is negative` + "\nkvmctl: hint: kvmctl exec --help": {olorin, "--timeout", "-1s", "--", "true"},
		} {
			code, out, talk := kvmctl(t, h, "", append([]string{"exec"}, args...)...)
			if code != 125 || out != "" {
				t.Errorf("%v: exit code %d, stdout %q", args, code, out)
			}
			match(t, strings.Join(args, " "), talk, "kvmctl: "+want+"\n")
		}
	})
	t.Run("one that takes too long runs on, and others run meanwhile", func(t *testing.T) {
		began := time.Now()
		code, out, talk := kvmctl(t, h, "", "exec", olorin, "--timeout", "1s", "--", "sh", "-c", "echo $$ >/run/long; exec sleep 3600")
		if code != 125 || out != "" || time.Since(began) > 20*time.Second {
			t.Errorf("exit code %d, stdout %q, after %v", code, out, time.Since(began))
		}
		m := regexp.MustCompile(`^kvmctl: error: cannot run a command in vm-olorin: it took longer than 1s: context deadline exceeded; ` +
			`the command may run on in the guest as pid (\d+), the agent cannot end it\nkvmctl: hint: kvmctl exec vm-olorin -- kill (\d+)\n$`).FindStringSubmatch(talk)
		if m == nil || m[1] != m[2] {
			t.Fatalf("stderr %s", talk)
		}
		_, pid, _ := kvmctl(t, h, "", "exec", olorin, "--", "cat", "/run/long")
		if pid != m[1]+"\n" {
			t.Errorf("it told pid %s, and it is %s", m[1], pid)
		}
		if code, _, talk := kvmctl(t, h, "", "exec", olorin, "--", "kill", m[1]); code != 0 {
			t.Errorf("the hint does not work: %s", talk)
		}
		untilInside(t, h, "! kill -0 "+m[1]+" || grep -q ') Z' /proc/"+m[1]+"/stat") // until somebody reaps it
		left := onScreen(t, h, "exec", olorin, "--", "sh", "-c", "echo >/run/left; exec sleep 3601")
		untilInside(t, h, "test -e /run/left")
		left.leave() // ^C
		left.exit(125)
		left.expect(`interrupted; the command may run on in the guest as pid \d+`)
	})
	t.Run("much output", func(t *testing.T) {
		const n = 256 << 10
		code, out, talk := kvmctl(t, h, "", "exec", olorin, "--", "sh", "-c", fmt.Sprintf("yes 0123456 | head -c %d", n))
		want := sha256.Sum256(bytes.Repeat([]byte("0123456\n"), n/8))
		if code != 0 || talk != "" || sha256.Sum256([]byte(out)) != want {
			t.Errorf("exit code %d, %d bytes, stderr %s", code, len(out), talk)
		}
	})
	t.Run("keys", func(t *testing.T) { keysArrive(t, h) })
	t.Run("the table of keys is that of this QEMU", func(t *testing.T) { keysAreQEMUs(t, h) })
	t.Run("a guest that ends under a command", func(t *testing.T) {
		s := onScreen(t, h, "exec", olorin, "--", "sh", "-c", "echo >/run/ends; exec sleep 3602")
		untilInside(t, h, "test -e /run/ends")
		vmtest.Kill(t, h, olorin)
		s.expect(`error: cannot run a command in vm-olorin: .*; the command may run on in the guest as pid \d+, the agent cannot end it\r\nkvmctl: hint: kvmctl status vm-olorin`)
		s.exit(125)
		for _, args := range [][]string{{"exec", olorin, "--", "true"}, {"sendkey", olorin, "a"}} {
			code, out, talk := kvmctl(t, h, "", args...)
			if want := map[string]int{"exec": 125, "sendkey": 1}[args[0]]; code != want || out != "" {
				t.Errorf("%v: exit code %d, want %d, stdout %q", args, code, want, out)
			}
			match(t, args[0], talk, `kvmctl: error: cannot [a-z ]+ vm-olorin: it is crashed \(.*\)`+"\nkvmctl: hint: kvmctl start vm-olorin\n")
		}
	})
}

// keysArrive types on the guest's keyboard and reads on its serial console what the shell on its screen made of it.
func keysArrive(t *testing.T, h *vm.Host) {
	send := func(stdin string, args ...string) {
		t.Helper()
		if code, out, talk := kvmctl(t, h, stdin, append([]string{"sendkey", olorin}, args...)...); code != 0 || out != "" || talk != "" {
			t.Fatalf("%v: exit code %d, stdout %q, stderr %s", args, code, out, talk)
		}
	}
	send("", "enter")
	send("", "--text", `echo typed-$((40+2)) >/dev/ttyS0\n`)
	waitConsole(t, h, "typed-42")
	all := ""
	for r := ' '; r <= '~'; r++ {
		all += string(r)
	}
	send("cat >/dev/ttyS0\n"+all+"\n", "--text", "-") // as a password would be typed
	waitConsole(t, h, "^"+regexp.QuoteMeta(all)+"\r?$")
	send("", "ctrl-c")
	send("", "--text", `echo $? left >/dev/ttyS0\n`, "--hold", "5ms")
	waitConsole(t, h, "130 left")

	if code, _, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "stop"); code != 0 {
		t.Fatal(talk)
	}
	code, _, talk := kvmctl(t, h, "", "sendkey", olorin, "a")
	if code != 1 || talk != "kvmctl: error: cannot press keys on vm-olorin: its CPUs stand still, and QEMU drops keys meanwhile (paused)\n"+
		"kvmctl: hint: kvmctl resume vm-olorin\n" {
		t.Errorf("a paused guest: exit code %d, stderr %s", code, talk)
	}
	code, _, talk = kvmctl(t, h, "", "exec", olorin, "--", "true")
	if code != 125 || talk != "kvmctl: error: cannot run a command in vm-olorin: it is paused\nkvmctl: hint: kvmctl resume vm-olorin\n" {
		t.Errorf("a paused guest: exit code %d, stderr %s", code, talk)
	}
	if code, _, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "cont"); code != 0 {
		t.Fatal(talk)
	}
	for want, args := range map[string][]string{
		`"ctlr" is no key` + "\nkvmctl: hint: did you mean \"ctrl\"?":               {"ctlr-c"},
		"no keys were given\nkvmctl: hint: kvmctl sendkey vm-olorin enter":          {},
		"either keys or --text, not both\nkvmctl: hint: kvmctl sendkey --help":      {"a", "--text", "b"},
		"--hold 0s is not between 1ms and 10s\nkvmctl: hint: kvmctl sendkey --help": {"a", "--hold", "0"},
		"the text is empty": {"--text", ""},
		"byte 1 of the text is on no key\nkvmctl: hint: press the keys that type it in the guest's layout, by name": {"--text", "\x02"},
	} {
		code, out, talk := kvmctl(t, h, "", append([]string{"sendkey", olorin}, args...)...)
		if code != 2 || out != "" || talk != "kvmctl: error: cannot press keys on vm-olorin: "+want+"\n" {
			t.Errorf("%v: exit code %d, stdout %q, stderr %s", args, code, out, talk)
		}
	}
}

// keysAreQEMUs compares our names with those that the running QEMU's schema has.
func keysAreQEMUs(t *testing.T, h *vm.Host) {
	_, out, _ := kvmctl(t, h, "", "monitor", olorin, "--qmp", "-c", `{"execute":"query-qmp-schema"}`)
	var schema struct {
		Return []struct {
			Values []string `json:"values"`
		} `json:"return"`
	}
	if err := json.Unmarshal([]byte(out), &schema); err != nil {
		t.Fatal(err)
	}
	names := vm.KeyNames()
	for _, e := range schema.Return {
		if !slices.Contains(e.Values, "kp_enter") {
			continue
		}
		for _, v := range e.Values {
			if c, err := vm.ParseChord(v); v != "unmapped" && (err != nil || len(c) != 1 || c[0] != v) {
				t.Errorf("QEMU has a key %q, and we read it as %v (%v)", v, c, err)
			}
		}
		for _, n := range names {
			if c, _ := vm.ParseChord(n); len(c) != 1 || !slices.Contains(e.Values, c[0]) {
				t.Errorf("%q is %v, which is no key of QEMU's", n, c)
			}
		}
		return
	}
	t.Error("this QEMU's schema has no QKeyCode")
}

func TestACommandsEndBecomesAnExitCode(t *testing.T) {
	tests := []struct {
		code, signal int64
		want         int
		odd          bool
	}{{0, 0, 0, false}, {3, 0, 3, false}, {255, 0, 255, false}, {256, 0, 255, true}, {-1073741510, 0, 255, true}, {-1, 0, 255, true},
		{0, 9, 137, false}, {0, 15, 143, false}, {0, -1, 255, true}, {0, 4711, 255, true}}
	for _, tt := range tests {
		if got, odd := exitCode(qmp.ExecStatus{Exited: true, Code: tt.code, Signal: tt.signal}); got != tt.want || odd != tt.odd {
			t.Errorf("code %d, signal %d: %d, %t, want %d, %t", tt.code, tt.signal, got, odd, tt.want, tt.odd)
		}
	}
}

func TestOutputThatTheAgentCutIsTold(t *testing.T) {
	var out, talk bytes.Buffer
	a := &app{env: &cli.Env{Prog: "kvmctl", Out: &out, Err: &talk}}
	err := a.execEnded(olorin, qmp.ExecStatus{Exited: true, Code: 256, Out: []byte("x"), OutTruncated: true})
	if cli.Code(err) != 255 || out.String() != "x" || talk.String() != "kvmctl: the agent in vm-olorin dropped what came after the first 16777216 bytes of stdout; write it to a file there\n"+
		"kvmctl: the command in vm-olorin ended with code 256, which no exit code here can say\n" {
		t.Errorf("%v, stdout %q, stderr %q", err, &out, &talk)
	}
}

func TestKeysComplete(t *testing.T) {
	a := &app{}
	for part, want := range map[string][]string{"ctrl-alt-f1": {"ctrl-alt-f1", "ctrl-alt-f10", "ctrl-alt-f11", "ctrl-alt-f12"}, "escap": {"escape"}, "nosuch": nil} {
		if got, _ := a.completeKeys(nil, []string{olorin}, part); !slices.Equal(got, want) {
			t.Errorf("%q completes to %q, want %q", part, got, want)
		}
	}
}
