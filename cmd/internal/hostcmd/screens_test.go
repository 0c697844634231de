package hostcmd

import (
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kvmctl/test/guest"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// match fails unless all of got matches.
func match(t *testing.T, what, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(`(?s)\A` + pattern + `\z`).MatchString(got) {
		t.Errorf("%s is\n%s\nwant it to match\n%s", what, got, pattern)
	}
}

const olorin = "vm-olorin"

func TestTalkToARunningGuest(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	spec := vmtest.WithAgent(t, vmtest.Spec(t, h, olorin))
	spec.VNC.Enabled, spec.VNC.Auto = true, true
	configure(t, h, spec)
	pid := vmtest.Start(t, h, spec).PID
	root := regexp.QuoteMeta(h.Root)
	t.Cleanup(func() {
		if p := vmtest.Owner(t, h, olorin); p == nil || p.PID != pid {
			t.Error("the guest did not live through all of this")
		} else {
			p.Close()
		}
	})

	t.Run("wait until it runs, until it said so, until its agent answers", func(t *testing.T) {
		for goal, said := range map[string]string{"running": "is running", "console:^guest ready after [0-9.]+s": "said so on its console",
			"agent": "answers by its agent"} {
			code, out, talk := kvmctl(t, h, "", "wait", olorin, "--for", goal, "--timeout", "90s")
			if code != 0 || out != "" {
				t.Errorf("wait for %s: exit code %d, stdout %q, stderr %s", goal, code, out, talk)
			}
			match(t, "stderr", talk, "kvmctl: vm-olorin "+said+", after [0-9ms]+\n")
		}
	})
	t.Run("wait in vain", func(t *testing.T) {
		code, out, talk := kvmctl(t, h, "", "wait", olorin, "--for", "console:never said", "--timeout", "300ms")
		if code != 5 || out != "" {
			t.Errorf("exit code %d, stdout %q", code, out)
		}
		match(t, "stderr", talk, "kvmctl: error: cannot wait for vm-olorin: waited 0?[.0-9]+[m]?s in vain: the console has not said so\n"+
			"kvmctl: hint: kvmctl console vm-olorin --replay\n")
		code, _, talk = kvmctl(t, h, "", "wait", olorin, "--for", "stopped", "--timeout", "300ms")
		if code != 5 || !strings.Contains(talk, "it runs\n") {
			t.Errorf("wait for the end: exit code %d, stderr %s", code, talk)
		}
	})
	t.Run("two consoles", func(t *testing.T) {
		first := onScreen(t, h, "console", olorin)
		first.expect(`\^\] leaves the console`)
		first.expect(guest.Prompt) // said before we came
		second := onScreen(t, h, "console", olorin)
		second.expect(fmt.Sprintf(`read only, because root \(pid %d\) on pts/\d+ is typing; \^\] or \^C leaves`, os.Getpid()))
		first.typed("echo one-$((1+1))\r")
		first.expect(`one-2\r\n`)
		second.expect(`one-2\r\n`)
		second.typed("echo two-$((2+2))\r")
		second.expect(`\[kvmctl: read only; \^\] leaves\]`)
		first.typed("\x03echo thr-$((2+1))\r") // ^C is the guest's
		first.expect(`thr-3\r\n`)
		second.expect(`thr-3\r\n`)
		if all := first.text() + second.text(); strings.Contains(all, "two") {
			t.Errorf("what the reader typed reached the guest:\n%q", all)
		}
		code, _, talk := kvmctl(t, h, "echo x\n", "console", olorin)
		match(t, "stderr of a third without a terminal", talk, `kvmctl: error: cannot type on the console of vm-olorin: the console is in use by root \(pid \d+\) on pts/\d+ since 20[-\d]+ [\d:]+`+
			"\nkvmctl: hint: kvmctl console vm-olorin --replay\n")
		if code != 1 {
			t.Errorf("a third without a terminal: exit code %d", code)
		}
		first.typed("\x1d")
		first.expect(`left the console of vm-olorin, which runs on\r\n`)
		first.exit(0)
		third := onScreen(t, h, "console", olorin)
		third.expect(`\^\] leaves the console`)
		third.expect(`thr-3\r\nguest# `)
		if strings.Contains(third.text(), "\x1b[6n") {
			t.Errorf("what is shown again asks the terminal:\n%q", third.text())
		}
		third.leave() // SIGTERM does the same
		third.exit(0)
		second.typed("\x03")
		second.exit(0)
	})
	t.Run("a keyboard that changes hands", func(t *testing.T) { changesHands(t, h) })
	t.Run("console without a terminal", func(t *testing.T) {
		code, out, talk := kvmctl(t, h, "echo four-$((2+2))\n", "console", olorin)
		if code != 0 || talk != "" || !strings.Contains(out, "four-4\r\n") {
			t.Errorf("exit code %d, stdout %q, stderr %s", code, out, talk)
		}
	})
	t.Run("another program on the console", func(t *testing.T) {
		conn, err := net.Dial("unix", h.ConsoleSocket(olorin))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s := onScreen(t, h, "console", olorin)
		s.expect("read only, because another program is typing")
		s.typed("\x1d")
		s.exit(0)
	})
	t.Run("the monitor", func(t *testing.T) {
		s := onScreen(t, h, "monitor", olorin)
		s.expect(`QEMU 7[.\d]+; help lists its commands\. exit, quit or \^D leave, and vm-olorin runs on\.\r\n`)
		s.expect(`\(vm-olorin\) `)
		s.typed("info stat\t\t")
		s.expect(`stats +status`)
		s.typed("us\r")
		s.expect(`VM status: running\r\n\(vm-olorin\) `)
		s.typed("\x1b[A\r") // again, from the history
		s.expect(`VM status: running\r\n\(vm-olorin\) `)
		code, out, talk := kvmctl(t, h, "", "monitor", olorin)
		if code != 1 || out != "" {
			t.Errorf("a second monitor: exit code %d, stdout %q", code, out)
		}
		match(t, "stderr of a second monitor", talk, fmt.Sprintf(`kvmctl: error: cannot use the monitor of vm-olorin: the monitor is in use by root \(pid %d\) on pts/\d+ since 20[-\d]+ [\d:]+`+
			"\nkvmctl: hint: --force takes it over; kvmctl monitors shows who sits where\n", os.Getpid()))
		if code, out, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "info status", "-c", "info name"); code != 0 || out != "VM status: running\nvm-olorin\n" {
			t.Errorf("-c beside it: exit code %d, stdout %q, stderr %s", code, out, talk)
		}
		_, out, _ = kvmctl(t, h, "", "monitors")
		match(t, "the list", out, `NAME       STATE    MONITOR +IN-USE-BY +CONSOLE\nvm-olorin  running  `+root+fmt.Sprintf(`/run/kvm/vm-olorin/mon.sock  root \(pid %d\) on pts/\d+  -\n`, os.Getpid()))
		s.typed("quit\r")
		s.expect(`left the monitor; vm-olorin runs on\. To end the guest: kvmctl stop vm-olorin`)
		s.exit(0)
		_, out, _ = kvmctl(t, h, "", "monitors", "--json")
		var rows []monitorRow
		if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 1 || rows[0] != (monitorRow{olorin, vm.StateRunning, h.MonitorSocket(olorin), nil, nil}) {
			t.Errorf("--json gave %s (%v)", out, err)
		}
		for _, keys := range []string{"\x04", "\x03", "  q \r", "detach\r", "exit\r"} {
			s := onScreen(t, h, "monitor", olorin)
			s.expect(`\(vm-olorin\) `)
			s.typed(keys)
			s.exit(0)
		}
	})
	t.Run("what the monitor refuses", func(t *testing.T) {
		code, out, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "info name", "-c", "frobnicate", "-c", "info name")
		if code != 1 || out != "vm-olorin\n" || talk != "kvmctl: error: cannot run \"frobnicate\" on the monitor of vm-olorin: unknown command: 'frobnicate'\n"+
			"kvmctl: hint: kvmctl monitor vm-olorin -c help\n" {
			t.Errorf("exit code %d, stdout %q, stderr %s", code, out, talk)
		}
		if code, _, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "device_del nosuch"); code != 1 || !strings.Contains(talk, ": Device 'nosuch' not found\n") {
			t.Errorf("an error of a command: exit code %d, stderr %s", code, talk)
		}
		if code, out, _ := kvmctl(t, h, "info name\nfrobnicate\nexit\ninfo name\n", "monitor", olorin); code != 1 || out != "vm-olorin\nunknown command: 'frobnicate'\n" {
			t.Errorf("by stdin: exit code %d, stdout %q", code, out)
		}
	})
	t.Run("QMP", func(t *testing.T) {
		code, out, talk := kvmctl(t, h, "", "monitor", olorin, "--qmp", "-c", `{"execute":"query-name","id":[1]}`, "-c", `{"execute":"nosuch"}`)
		if code != 1 || talk != "" || out != `{"return":{"name":"vm-olorin"},"id":[1]}`+"\n"+
			`{"error":{"class":"CommandNotFound","desc":"The command nosuch has not been found"}}`+"\n" {
			t.Errorf("exit code %d, stdout %s, stderr %s", code, out, talk)
		}
		s := onScreen(t, h, "monitor", olorin, "--qmp")
		s.expect(`\(vm-olorin\) `)
		s.typed(`{"execute":"qmp_capabilities"}` + "\r")
		s.expect(`\{"return":\{\}\}\r\n`)
		s.typed(`{"execute":"stop"}` + "\r")
		s.expect(`"event":"STOP"`)
		s.typed(`{"execute":"cont","id":"x"}` + "\r")
		s.expect(`"id":"x"`)
		s.typed("\x04")
		s.exit(0)
	})
	t.Run("screenshots", func(t *testing.T) { screenshots(t, h) })
	t.Run("where its screen is", func(t *testing.T) {
		code, out, _ := kvmctl(t, h, "", "vnc", olorin, "--print")
		match(t, "--print", out, `127\.0\.0\.1:59\d\d\n`)
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
		addr := strings.TrimSpace(out)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		hello := make([]byte, 4)
		if _, err := conn.Read(hello); err != nil || string(hello) != "RFB " {
			t.Errorf("at %s somebody says %q (%v)", addr, hello, err)
		}
		_, out, talk := kvmctl(t, h, "", "vnc", olorin)
		match(t, "stdout", out, regexp.QuoteMeta(addr)+` \(display :\d+\)\n`)
		match(t, "stderr", talk, `kvmctl: from your desktop: ssh -N -L 59\d\d:`+regexp.QuoteMeta(addr)+` \S+@\S+, then: remote-viewer vnc://`+regexp.QuoteMeta(addr)+"\n")
	})
	t.Run("an address that it cannot have", func(t *testing.T) {
		code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "tcp:22")
		if code != 1 || !strings.Contains(talk, "cannot wait for vm-olorin: it has no network card and no address\n") {
			t.Errorf("exit code %d, stderr %s", code, talk)
		}
	})
}

// changesHands: the reader is told when the one who types leaves and takes the keyboard; force takes it, and who loses it is told by whom.
func changesHands(t *testing.T, h *vm.Host) {
	first := onScreen(t, h, "console", olorin)
	first.expect(`\^\] leaves the console`)
	second := onScreen(t, h, "console", olorin)
	second.expect("read only, because root")
	_, out, _ := kvmctl(t, h, "", "monitors")
	match(t, "the list", out, `NAME +STATE +MONITOR +IN-USE-BY +CONSOLE\nvm-olorin +running +\S+ +- +root \(pid \d+\) on pts/\d+\n`)
	first.typed("\x1d")
	first.exit(0)
	second.expect(`\[kvmctl: root \(pid \d+\) on pts/\d+ has left; Enter takes the keyboard\]`)
	second.typed("\r")
	second.expect(`\^\] leaves the console`)
	second.typed("echo five-$((2+3))\r")
	second.expect(`five-5\r\n`)

	third := onScreen(t, h, "console", olorin, "--force")
	second.expect(`kvmctl: vm-olorin: root \(pid \d+\) on pts/\d+ took it over`)
	second.expect(`read only, because root \(pid \d+\) on pts/\d+ is typing`)
	third.expect(`\^\] leaves the console`)
	third.typed("echo six-$((2+4))\r")
	third.expect(`six-6\r\n`)
	second.expect(`six-6\r\n`)
	second.typed("echo lost-$((2+4))\r")
	second.expect(`read only; \^\] leaves`)

	monitor := onScreen(t, h, "monitor", olorin)
	monitor.expect(`\(vm-olorin\) `)
	forced := onScreen(t, h, "monitor", olorin, "--force")
	monitor.expect(`cannot stay on the monitor of vm-olorin: root \(pid \d+\) on pts/\d+ took it over`)
	monitor.exit(1)
	forced.expect(`\(vm-olorin\) `)
	forced.typed("info status\r")
	forced.expect(`VM status: running`)
	forced.typed("\x04")
	forced.exit(0)
	for _, s := range []*screen{second, third} {
		if strings.Contains(s.text(), "lost-6") {
			t.Error("what a reader typed reached the guest")
		}
		s.typed("\x1d")
		s.exit(0)
	}
	if left, err := filepath.Glob(h.RunDir(olorin) + "/*.wanted"); err != nil || len(left) == 0 {
		t.Errorf("%v, %v", left, err)
	}
	again := onScreen(t, h, "console", olorin) // a wish that nobody holds throws nobody out
	again.expect(`\^\] leaves the console`)
	again.typed("echo seven-$((2+5))\r")
	again.expect(`seven-7\r\n`)
	again.typed("\x1d")
	again.exit(0)
}

func screenshots(t *testing.T, h *vm.Host) {
	dir := t.TempDir()
	path := filepath.Join(dir, "screen.png")
	put(t, path, []byte("\x89PNG\r\n\x1a\nan older picture"))
	take := func(arg string) (int, string, string) { return kvmctl(t, h, "", "screenshot", olorin, arg) }
	precious := filepath.Join(t.TempDir(), "disk0.qcow2")
	put(t, precious, []byte("somebody's data"))
	code, _, talk := take(precious)
	kept, err := os.ReadFile(precious)
	if code != 3 || string(kept) != "somebody's data" || !strings.Contains(talk, precious+" is there and no PNG, and would be lost\n") {
		t.Errorf("onto a disk image: exit code %d, %v, %q, stderr %s", code, err, kept, talk)
	}
	if code, out, talk := take(path); code != 0 || out != "" {
		t.Fatalf("exit code %d, stdout %q, stderr %s", code, out, talk)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	checkPicture(t, f)
	if code, out, talk := take("-"); code != 0 || talk != "" {
		t.Errorf("to stdout: exit code %d, stderr %s", code, talk)
	} else {
		checkPicture(t, strings.NewReader(out))
	}
	if code, _, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "stop"); code != 0 {
		t.Fatal(talk)
	}
	if code, _, talk := take(path); code != 0 {
		t.Errorf("of a paused guest: exit code %d, stderr %s", code, talk)
	}
	if code, _, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "cont"); code != 0 {
		t.Fatal(talk)
	}
	link := filepath.Join(dir, "link.png")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for file, what := range map[string]string{dir: "a directory", link: "a symbolic link", "/dev/null": "a device"} {
		want := fmt.Sprintf("kvmctl: error: cannot take a screenshot of vm-olorin: %s is %s, not a regular file\nkvmctl: hint: name another file\n", file, what)
		if code, _, talk := take(file); code != 3 || talk != want {
			t.Errorf("to %s: exit code %d, stderr %s", what, code, talk)
		}
	}
	if code, _, talk := take(filepath.Join(dir, "nosuch", "x.png")); code != 1 {
		t.Errorf("to a directory that is not there: exit code %d, stderr %s", code, talk)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
	if code, out, _ := kvmctl(t, h, "", "monitor", olorin, "--qmp", "-c", `{"execute":"query-fdsets"}`); code != 0 || strings.Contains(out, "screen") {
		t.Errorf("QEMU keeps files: %s", out)
	}
}

// checkPicture wants a picture with more than one colour on it.
func checkPicture(t *testing.T, r interface{ Read([]byte) (int, error) }) {
	t.Helper()
	img, err := png.Decode(r)
	if err != nil {
		t.Fatalf("no PNG: %v", err)
	}
	if b := img.Bounds(); b.Dx() < 320 || b.Dy() < 200 || !colourful(img) {
		t.Errorf("a blank picture, or one of %v", b)
	}
}

func colourful(img image.Image) bool {
	b := img.Bounds()
	first := img.At(b.Min.X, b.Min.Y)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if img.At(x, y) != first {
				return true
			}
		}
	}
	return false
}

func TestAGuestEndsWhileSomebodyIsThere(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	spec := vmtest.Spec(t, h, olorin)
	configure(t, h, spec)
	vmtest.Start(t, h, spec)
	if code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "console:guest ready"); code != 0 {
		t.Fatal(talk)
	}
	const end = `vm-olorin is stopped: guest shut down\r\n`
	first := onScreen(t, h, "console", olorin)
	first.expect(`\^\] leaves`)
	second := onScreen(t, h, "console", olorin)
	second.expect("read only")
	third := onScreen(t, h, "monitor", olorin)
	third.expect(`\(vm-olorin\) `)
	stopped := onScreen(t, h, "wait", olorin, "--for", "stopped")
	disappointed := onScreen(t, h, "wait", olorin, "--for", "console:never said")
	first.typed("poweroff\r")
	first.expect(guest.Off)
	second.expect(guest.Off)
	for _, s := range []*screen{first, second, third} {
		s.expect(end)
		s.exit(0)
	}
	stopped.expect(`vm-olorin is stopped: guest shut down, after `)
	stopped.exit(0)
	disappointed.expect(`cannot wait for vm-olorin: it ended: guest shut down\r\n`)
	disappointed.exit(1)

	code, out, _ := kvmctl(t, h, "", "console", olorin, "--replay")
	if code != 0 || !strings.Contains(out, guest.Ready) || !strings.Contains(out, guest.Off) {
		t.Errorf("--replay after the end: exit code %d\n%s", code, out)
	}
	if code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "stopped"); code != 0 {
		t.Errorf("wait for what is so: exit code %d, %s", code, talk)
	}
	for _, args := range [][]string{{"console", olorin}, {"monitor", olorin}, {"vnc", olorin}, {"screenshot", olorin, "-"}} {
		code, out, talk := kvmctl(t, h, "", args...)
		if code != 1 || out != "" {
			t.Errorf("%v: exit code %d, stdout %q", args, code, out)
		}
		match(t, strings.Join(args, " "), talk, `kvmctl: error: cannot [a-z ]+ vm-olorin: it is stopped \(guest shut down\)`+"\nkvmctl: hint: kvmctl start vm-olorin\n")
	}
	if code, out, _ := kvmctl(t, h, "", "monitors"); code != 0 || out != "NAME  STATE  MONITOR  IN-USE-BY  CONSOLE\n" {
		t.Errorf("monitors: exit code %d, %s", code, out)
	}
	_, out, _ = kvmctl(t, h, "", "log", olorin)
	match(t, "the log", out, `TIME +WHAT +WHY\n(?:.*\n)*`+`20[-\d]+ [\d:]+  started +by root, test; pid \d+\n(?:.*\n)*`+
		`20[-\d]+ [\d:]+  shutdown +the guest shut down\n20[-\d]+ [\d:]+  stopped +guest shut down\n`)
	_, out, _ = kvmctl(t, h, "", "log", olorin, "-n", "1", "--json")
	var facts []vm.Fact
	if err := json.Unmarshal([]byte(out), &facts); err != nil || len(facts) != 1 || facts[0].Kind != vm.KindEnd {
		t.Errorf("log -n 1 --json gave %s (%v)", out, err)
	}

	// The next run is another one: what the last one said does not count.
	spec.Cmdline = strings.Replace(spec.Cmdline, guest.Cmdline, guest.Cmdline+" "+guest.Hang, 1)
	vmtest.Start(t, h, spec)
	if code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "console:"+guest.Off, "--timeout", "2s"); code != 5 {
		t.Errorf("wait for what the last run said: exit code %d, %s", code, talk)
	}
	if code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "console:"+guest.Hangs); code != 0 {
		t.Errorf("exit code %d, %s", code, talk)
	}
	// What a script means by -c quit.
	if code, _, talk := kvmctl(t, h, "", "monitor", olorin, "-c", "quit"); code != 0 {
		t.Errorf("-c quit: exit code %d, %s", code, talk)
	}
	code, _, talk := kvmctl(t, h, "", "wait", olorin, "--for", "stopped")
	match(t, "stderr", talk, `kvmctl: vm-olorin is stopped(: ended from a monitor \(quit\))?, after .*\n`)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
}
