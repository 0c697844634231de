package hostcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

func TestNobodyIsHeldByAGuestThatHangs(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	spec := vmtest.Spec(t, h, olorin)
	configure(t, h, spec)
	vmtest.Start(t, h, spec)
	p := vmtest.Owner(t, h, olorin)
	if p == nil {
		t.Fatal("no QEMU")
	}
	defer p.Close()
	if err := p.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, args := range [][]string{{"monitor", olorin}, {"monitor", olorin, "-c", "info status"}, {"screenshot", olorin, "-"}} {
		code, out, talk := kvmctl(t, h, "", args...)
		if code != 1 || out != "" {
			t.Errorf("%v: exit code %d, stdout %q", args, code, out)
		}
		match(t, strings.Join(args, " "), talk, `kvmctl: error: cannot [a-z ]+ vm-olorin: QEMU does not answer on its monitor: .*`+"\nkvmctl: hint: kvmctl status vm-olorin\n")
	}
	code, _, talk := kvmctl(t, h, "", "wait", olorin, "--timeout", "3s")
	if code != 5 || !strings.Contains(talk, "it is wedged: QEMU does not answer\n") {
		t.Errorf("wait: exit code %d, stderr %s", code, talk)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("all this took %v", took)
	}
	s := onScreen(t, h, "console", olorin)
	s.expect(`\^\] leaves the console`)
	for range 300 { // more than socket and queue hold together
		s.typed(strings.Repeat("x", 1024))
	}
	s.expect("\a")
	s.typed("\x1d")
	s.exit(0)
	if err := p.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code, _, talk := kvmctl(t, h, "", "wait", olorin); code != 0 {
		t.Errorf("when it goes on: exit code %d, stderr %s", code, talk)
	}
}

func TestTheViewerIsStartedOnADesktop(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	spec := vmtest.Spec(t, h, olorin)
	spec.VNC.Enabled, spec.VNC.Auto = true, true
	configure(t, h, spec)
	st := vmtest.Start(t, h, spec)
	bin := t.TempDir()
	seen := filepath.Join(bin, "seen")
	viewer := filepath.Join(bin, "remote-viewer")
	for script, want := range map[string]int{"#!/bin/sh\necho \"$@\" >" + seen + "\necho talk\n": 0, "#!/bin/sh\nexit 3\n": 1} {
		put(t, viewer, []byte(script))
		if err := os.Chmod(viewer, 0o755); err != nil {
			t.Fatal(err)
		}
		var out, talk bytes.Buffer
		code := Main(t.Context(), &cli.Env{Prog: "kvmctl", Args: []string{"--root", h.Root, "vnc", olorin}, In: strings.NewReader(""), Out: &out, Err: &talk,
			Get: environ(map[string]string{"DISPLAY": ":0", "PATH": "relative:" + bin})})
		if code != want || out.String() != st.State.VNC+" (display "+display(st.State.VNC)+")\n" {
			t.Errorf("exit code %d, want %d, stdout %q, stderr %s", code, want, &out, &talk)
		}
		if want == 1 && withoutRoot(h, talk.String()) != "kvmctl: error: cannot show the screen of vm-olorin: remote-viewer: exit status 3\nkvmctl: hint: kvmctl vnc vm-olorin --print\n" {
			t.Errorf("stderr %s", &talk)
		}
	}
	got, err := os.ReadFile(seen)
	if err != nil || string(got) != "vnc://"+st.State.VNC+"\n" {
		t.Errorf("the viewer got %q (%v)", got, err)
	}
}

func TestAGuestWithoutAScreenHasNoneToShow(t *testing.T) {
	t.Parallel()
	h := vmtest.Host(t)
	spec := vmtest.Spec(t, h, olorin)
	configure(t, h, spec)
	vmtest.Start(t, h, spec)
	code, out, talk := kvmctl(t, h, "", "vnc", olorin)
	if code != 1 || out != "" || talk != "kvmctl: error: cannot show the screen of vm-olorin: it runs without VNC\n"+
		"kvmctl: hint: kvmctl screenshot vm-olorin screen.png; [vnc] in its vm.toml gives it a display at the next start\n" {
		t.Errorf("exit code %d, stdout %q, stderr %s", code, out, talk)
	}
	if code, out, talk := kvmctl(t, h, "", "screenshot", olorin, "-"); code != 0 {
		t.Errorf("it has a screen all the same: exit code %d, stderr %s", code, talk)
	} else if err := vm.CheckPNG(strings.NewReader(out), int64(len(out))); err != nil {
		t.Error(err)
	}
	vmtest.Kill(t, h, olorin)
	code, _, talk = kvmctl(t, h, "", "wait", olorin, "--for", "agent", "--timeout", "300ms")
	if code != 5 || !strings.HasSuffix(talk, "in vain: not running\nkvmctl: hint: kvmctl start vm-olorin\n") {
		t.Errorf("wait for one that does not run: exit code %d, stderr %s", code, talk)
	}
	if code, out, _ := kvmctl(t, h, "", "log", olorin, "-n", "1"); code != 0 || !strings.Contains(out, "crashed") {
		t.Errorf("after SIGKILL the log says %s", out)
	}
	for _, args := range [][]string{{"console"}, {"console", "--replay"}, {"monitor"}, {"vnc"}, {"log"}, {"wait"}, {"screenshot", "-"}} {
		for name, want := range map[string]int{"vm-olorim": 1, "no/such": 2, "../x": 2} {
			code, out, talk := kvmctl(t, h, "", append([]string{args[0], name}, args[1:]...)...)
			if code != want || out != "" || !strings.HasPrefix(talk, "kvmctl: error: cannot ") || !strings.Contains(talk, "\nkvmctl: hint: ") {
				t.Errorf("%v %s: exit code %d, want %d, stdout %q, stderr %s", args, name, code, want, out, talk)
			}
		}
	}
}
