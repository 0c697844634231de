package confsync

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvmctl/ha/unit"
	"kvmctl/internal/systemd/systemdtest"
)

// A job may name a unit of systemd's: it is reloaded if it can be, else restarted, and started by no means.
func TestASwapReloadsAUnit(t *testing.T) {
	t.Parallel()
	dir, e, job := site(t)
	out := filepath.Join(dir, "out")
	service := func(reload string) string {
		return "[Service]\nExecStart=/bin/sh -c 'echo start >>" + out + "; exec sleep 1000'\n" + reload
	}
	sd := systemdtest.NewReal(t, map[string]string{
		"reloads.service":  service("ExecReload=/bin/sh -c 'cat " + dir + "/here/zones/a.zone >>" + out + "'\n"),
		"restarts.service": service(""), "rests.service": service(""), "refuses.service": service("ExecReload=/bin/false\n"),
	})
	with := func(ctx context.Context, name string) error {
		return unit.Systemd{Unit: name, Socket: sd.Socket}.Reload(ctx)
	}
	e.Unit = with
	sd.Systemctl(t, "start", "reloads.service", "restarts.service", "refuses.service")
	said := func(want string) bool {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			text, _ := os.ReadFile(out)
			if string(text) == want {
				return true
			}
			if time.Now().After(end) {
				t.Errorf("the units say %q, not %q", text, want)
				return false
			}
		}
	}
	lines := strings.Repeat("start\n", 3)
	said(lines)
	for _, c := range []struct{ unit, zone, says, err string }{
		{"reloads.service", "zone 1", "zone 1\n", ""},
		{"restarts.service", "zone 2", "start\n", ""},
		{"rests.service", "zone 3", "", ""},
		{"refuses.service", "zone 4", "", "the new files are in place, but not in use: refuses.service: reload refuses.service: systemd's job for refuses.service: failed"},
		{"missing.service", "zone 5", "", "no such unit"},
	} {
		put(t, dir+"/there/zones/a.zone", c.zone+"\n")
		job.Reload = []string{c.unit}
		_, err := e.Run(t.Context(), job, false)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.unit, err)
		}
		lines += c.says
		said(lines)
		if text, err := os.ReadFile(dir + "/here/zones/a.zone"); err != nil || string(text) != c.zone+"\n" {
			t.Errorf("%s: %q, %v", c.unit, text, err)
		}
	}
	if s := strings.TrimSpace(sd.Systemctl(t, "show", "--value", "-p", "ActiveState", "rests.service")); s != "inactive" {
		t.Errorf("a unit that does not run is %s", s)
	}
	put(t, dir+"/there/zones/a.zone", "zone 6\n")
	job.Reload, e.Unit = []string{"reloads.service"}, nil
	if _, err := e.Run(t.Context(), job, false); err == nil || !strings.Contains(err.Error(), errNoSystemd.Error()) {
		t.Errorf("without systemd: %v", err)
	}

	// What could not be reloaded is reloaded by the next pass, once.
	if c, err := e.Run(t.Context(), job, false); err == nil || !c.None() {
		t.Errorf("still without: %+v, %v", c, err)
	}
	e.Unit = with
	for range 2 {
		if c, err := e.Run(t.Context(), job, false); err != nil || !c.None() {
			t.Errorf("with systemd again: %+v, %v", c, err)
		}
	}
	said(lines + "zone 6\n")
}
