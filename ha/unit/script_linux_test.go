package unit_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha"
	"kvmctl/ha/unit"
	"kvmctl/internal/child"
)

// daemonScript is an init script with a real daemon, started and stopped as Debian's are. $D is written in by the test.
const daemonScript = `#!/bin/sh
D=@D@
case "$1" in
start) echo start >>$D/calls; start-stop-daemon --start --quiet --background --make-pidfile --pidfile $D/pid --exec /bin/sleep -- 1000 || exit 0 ;;
stop) echo stop >>$D/calls; start-stop-daemon --stop --quiet --oknodo --retry 5 --pidfile $D/pid --exec /bin/sleep && rm -f $D/pid ;;
status) start-stop-daemon --status --pidfile $D/pid --exec /bin/sleep ;;
*) echo "Usage: $0 {start|stop|status}" >&2; exit 3 ;;
esac
`

// script puts an init script into a root of its own.
func script(t *testing.T, name, text string) (unit.SysV, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "etc/init.d")
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "@D@", root)), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // whatever a test left
		if pid := pidIn(filepath.Join(root, "pid")); pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return unit.SysV{Script: name, PIDFile: filepath.Join(root, "pid"), Root: root}, root
}

func pidIn(path string) int {
	b, _ := os.ReadFile(path)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

func lives(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[0] != 'Z'
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func state(t *testing.T, u unit.Unit) unit.State {
	t.Helper()
	s, err := u.State(within(t, 30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return s.State
}

func TestSysVWithARealDaemon(t *testing.T) {
	u, root := script(t, "sleepd", daemonScript)
	ctx := within(t, time.Minute)
	if got := state(t, u); got != unit.Stopped {
		t.Errorf("at first %v", got)
	}
	if err := u.Stop(ctx); err != nil {
		t.Errorf("stop what does not run: %v", err)
	}
	for range 2 {
		if err := u.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	pid := pidIn(filepath.Join(root, "pid"))
	if got := state(t, u); got != unit.Running || !lives(pid) {
		t.Errorf("started: %v, %d", got, pid)
	}
	// What runs is adopted: the script was asked to start once, and the daemon outlives the start.
	if calls, _ := os.ReadFile(filepath.Join(root, "calls")); string(calls) != "stop\nstart\n" {
		t.Errorf("calls %q", calls)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); lives(pid) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := state(t, u); got != unit.Failed {
		t.Errorf("killed: %v", got)
	}
	if err := u.Start(ctx); err != nil {
		t.Errorf("start what failed: %v", err)
	}
	for range 2 {
		if err := u.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if got := state(t, u); got != unit.Stopped {
		t.Errorf("stopped: %v", got)
	}
	if err := u.Kill(ctx); !errors.Is(err, unit.ErrCannotKill) {
		t.Errorf("kill of what has no pidfile: %v", err)
	}
	if err := u.Start(ctx); err != nil {
		t.Fatal(err)
	}
	pid = pidIn(filepath.Join(root, "pid"))
	if err := u.Kill(ctx); err != nil || lives(pid) {
		t.Errorf("kill: %v, lives %t", err, lives(pid))
	}
	if err := (unit.SysV{Script: "sleepd", Root: root}).Kill(ctx); !errors.Is(err, unit.ErrCannotKill) {
		t.Errorf("kill without pidfile: %v", err)
	}
}

func TestSysVErrors(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		start      string // the error of Start
		stop       string
		state      unit.State
	}{
		{"a start that fails, with its reason", "#!/bin/sh\n[ $1 = status ] && exit 3\necho 'starting…'; echo 'port 53 is taken' >&2; exit 1\n",
			"start x: exit 1: port 53 is taken", "", unit.Stopped},
		{"a start that lies", "#!/bin/sh\n[ $1 = status ] && { echo x is not running; exit 3; }\necho done\n",
			"start x: exit 0, but it is not running: stopped: x is not running (it said: done)", "", unit.Stopped},
		{"a stop that lies", "#!/bin/sh\nexit 0\n", "", "stop x: exit 0, but it is not stopped: running", unit.Running},
		{"a stop that fails, and it runs", "#!/bin/sh\n[ $1 = stop ] && { echo busy; exit 1; }\nexit 0\n", "", "stop x: exit 1: busy", unit.Running},
		{"not running at stop (LSB 7)", "#!/bin/sh\n[ $1 = status ] && exit 4\n[ $1 = stop ] && exit 7\nexit 0\n", "", "", unit.Unknown},
		{"not configured (LSB 6)", "#!/bin/sh\n[ $1 = status ] && exit 3\necho no configuration; exit 6\n",
			"start x: exit 6: no configuration", "", unit.Stopped},
		{"no status, as Debian's skeleton says it", "#!/bin/sh\ncase $1 in start|stop) ;; *) echo \"Usage: $0 {start|stop}\" >&2; exit 3;; esac\n", "", "", unit.Unknown},
		{"dead, with its lock (LSB 2)", "#!/bin/sh\n[ $1 = status ] && exit 2\nexit 0\n", "start x: exit 0, but it is not running: failed", "", unit.Failed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, _ := script(t, "x", tt.text)
			ctx := within(t, time.Minute)
			for act, want := range map[string]string{"start": tt.start, "stop": tt.stop} {
				err := map[string]func(context.Context) error{"start": u.Start, "stop": u.Stop}[act](ctx)
				if err == nil && want != "" || err != nil && err.Error() != want {
					t.Errorf("%s: %v\nwant %s", act, err, want)
				}
			}
			if got := state(t, u); got != tt.state {
				t.Errorf("state %v, want %v", got, tt.state)
			}
		})
	}
	ctx := within(t, time.Minute)
	if err := (unit.SysV{Script: "absent", Root: t.TempDir()}).Start(ctx); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a script that is not there: %v", err)
	}
	for name, good := range map[string]bool{"named": true, "": false, "../passwd": false, ".x": false} {
		if err := (unit.SysV{Script: name}).Validate(); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A script that hangs for ever, one that ignores SIGTERM, and one that leaves a grandchild with its output.
func TestScriptsThatHang(t *testing.T) {
	for _, tt := range []struct {
		name, text  string
		least, most time.Duration
	}{
		{"for ever", "#!/bin/sh\n[ $1 = status ] && exit 3\necho $$ >@D@/pid\necho waiting for the lock\nsleep 1000\n", 0, 1900 * time.Millisecond},
		{"and ignores SIGTERM", "#!/bin/sh\n[ $1 = status ] && exit 3\ntrap '' TERM\necho $$ >@D@/pid\necho waiting for the lock\nwhile :; do sleep 1000; done\n",
			2 * time.Second, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, root := script(t, "x", tt.text)
			ctx, cancel := context.WithCancelCause(t.Context())
			var began time.Time
			pid := 0
			go func() {
				for pid == 0 {
					time.Sleep(time.Millisecond)
					pid = pidIn(filepath.Join(root, "pid"))
				}
				time.Sleep(100 * time.Millisecond) // it has said its word, mostly
				began = time.Now()
				cancel(context.DeadlineExceeded)
			}()
			err := u.Start(ctx)
			took := time.Since(began)
			var timeout *child.TimeoutError
			if !errors.As(err, &timeout) || !errors.Is(err, context.DeadlineExceeded) || timeout.Reason != "waiting for the lock" {
				t.Errorf("got %v", err)
			}
			if took < tt.least || took > tt.most {
				t.Errorf("ended %v after its time", took)
			}
			if lives(pid) {
				t.Error("it lives")
			}
		})
	}
	t.Run("leaves a grandchild with its output", func(t *testing.T) {
		t.Parallel()
		u, root := script(t, "x", "#!/bin/sh\n[ $1 = status ] && exit 0\n[ $1 = stop ] && exit 0\nsetsid sleep 1000 & echo $! >@D@/pid\n")
		u.Root = root
		c := &unit.Command{Label: "x", StartBy: []string{filepath.Join(root, "etc/init.d/x"), "start"}}
		began := time.Now()
		if err := c.Start(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("waited %v for the grandchild", took)
		}
		if !lives(pidIn(filepath.Join(root, "pid"))) {
			t.Error("the grandchild was killed")
		}
	})
}

func TestEnabledAtBoot(t *testing.T) {
	u, root := script(t, "sleepd", daemonScript)
	for _, link := range []string{"rc0.d/K01sleepd", "rc2.d/S03sleepd", "rc3.d/S03sleepd", "rcS.d/S01other", "rc1.d/S01sleepd", "rc4.d/S04sleepd2"} {
		path := filepath.Join(root, "etc", link)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink("../init.d/sleepd", path)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := u.EnabledAtBoot(t.Context())
	want := unit.Boot{Enabled: true, By: []string{root + "/etc/rc2.d/S03sleepd", root + "/etc/rc3.d/S03sleepd"}, Disable: "update-rc.d sleepd disable"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = unit.SysV{Script: "none", Root: root}.EnabledAtBoot(t.Context())
	if err != nil || got.Enabled {
		t.Errorf("of none: %+v, %v", got, err)
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	sh := func(text string) []string { return []string{"/bin/sh", "-c", text, dir} }
	ctx := within(t, time.Minute)
	asked := &unit.Command{Label: "asked", StartBy: sh("echo start >>$0/calls; touch $0/up"), StopBy: sh("echo stop >>$0/calls; rm -f $0/up"),
		AskBy: sh("[ -e $0/up ] && exit 0; exit 3")}
	if got := state(t, asked); got != unit.Stopped {
		t.Errorf("at first %v", got)
	}
	for range 2 {
		if err := asked.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := state(t, asked); got != unit.Running {
		t.Errorf("started: %v", got)
	}
	for range 2 {
		if err := asked.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if calls, _ := os.ReadFile(dir + "/calls"); string(calls) != "start\nstop\nstop\n" {
		t.Errorf("calls %q", calls)
	}
	mute := &unit.Command{Label: "mute", StartBy: sh("exit 0"), StopBy: sh("echo cannot; exit 1")}
	if got := state(t, mute); got != unit.Unknown {
		t.Errorf("mute at first: %v", got)
	}
	if err := mute.Start(ctx); err != nil || state(t, mute) != unit.Running {
		t.Errorf("mute: %v, %v", err, state(t, mute))
	}
	if err := mute.Stop(ctx); err == nil || err.Error() != "stop mute: exit 1: cannot" || state(t, mute) != unit.Unknown {
		t.Errorf("mute, stop failed: %v, %v", err, state(t, mute))
	}
	for _, bad := range []*unit.Command{{}, {StartBy: []string{"true"}}, {StartBy: []string{"/bin/true"}, StopBy: []string{"true"}}} {
		if bad.Validate() == nil {
			t.Errorf("%v is valid", bad)
		}
	}
}

// As ucarp's spawn.c calls them: interface, address, and xparam where there is one.
func TestUCARPScripts(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	for _, name := range []string{"up", "down"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho "+name+" \"$#\" \"$@\" >>"+log+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	g := ha.Group{Interface: "eth0", Addresses: []netip.Addr{netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("10.2.0.11")},
		Units: []ha.Unit{{Kind: ha.UnitUCARP, Name: "vip", Start: []string{dir + "/up"}, Stop: []string{dir + "/down"}, XParam: "a b"}}}
	ctx := within(t, time.Minute)
	for _, u := range g.RunUnits() {
		if err := errors.Join(u.Start(ctx), u.Stop(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	g.Units[0].XParam = ""
	if err := g.RunUnits()[0].Start(ctx); err != nil {
		t.Fatal(err)
	}
	want := "up 3 eth0 10.2.0.10 a b\ndown 3 eth0 10.2.0.10 a b\nup 3 eth0 10.2.0.11 a b\ndown 3 eth0 10.2.0.11 a b\nup 2 eth0 10.2.0.10\n"
	if got, _ := os.ReadFile(log); string(got) != want {
		t.Errorf("calls\n%swant\n%s", got, want)
	}
}

// A command without a status of its own is asked by its pidfile.
func TestCommandWithAPIDFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pid")
	t.Cleanup(func() {
		if pid := pidIn(file); pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	sh := func(text string) []string { return []string{"/bin/sh", "-c", text} }
	u := &unit.Command{Label: "x", PIDFile: file, StartBy: sh("echo start >>" + dir + "/calls; setsid sleep 1000 >/dev/null 2>&1 & echo $! >" + file),
		StopBy: sh("kill $(cat " + file + ")")}
	ctx := within(t, time.Minute)
	if got := state(t, u); got != unit.Stopped {
		t.Errorf("at first %v", got)
	}
	for range 2 {
		if err := u.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if calls, _ := os.ReadFile(dir + "/calls"); string(calls) != "start\n" || state(t, u) != unit.Running {
		t.Errorf("what runs was not adopted: %q", calls)
	}
	if err := unix.Kill(pidIn(file), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil && state(t, u) != unit.Failed {
		time.Sleep(time.Millisecond)
	}
	if err := u.Stop(ctx); err != nil { // its kill has nobody to kill
		t.Errorf("stop what was killed: %v", err)
	}
	if err := u.Kill(ctx); err != nil {
		t.Errorf("kill what was killed: %v", err)
	}
	if err := u.Start(ctx); err != nil {
		t.Fatal(err)
	}
	u.StopBy = sh("exit 0")
	var lies *unit.NotSoError
	if err := u.Stop(ctx); !errors.As(err, &lies) {
		t.Errorf("a stop that lies: %v", err)
	}
	if err := u.Kill(ctx); err != nil || state(t, u) != unit.Failed {
		t.Errorf("kill: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	u.StartBy = sh("exit 0")
	if err := u.Start(ctx); !errors.As(err, &lies) {
		t.Errorf("a start that lies: %v", err)
	}
}
