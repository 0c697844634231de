package debguest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
	"kvmctl/test/debguest"
)

func TestMain(m *testing.M) { testenv.MainE2E(m) }

// A Debian boots with systemd as PID 1, runs commands with their exit code, and powers off.
func TestBoot(t *testing.T) {
	testenv.Need(t, testenv.E2E, "mmdebstrap", "mke2fs")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	base, err := debguest.Build(ctx, debguest.DefaultDir())
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "debian.img")
	began := time.Now()
	err = base.Image(ctx, disk, "3G", func(root string) error {
		return debguest.WriteFile(root, "etc/motto", "hello\n", 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("image made in %v", time.Since(began).Round(100*time.Millisecond))
	began = time.Now()
	g, err := base.Boot(ctx, debguest.Options{Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	t.Logf("booted in %v", time.Since(began).Round(100*time.Millisecond))
	for script, want := range map[string]string{
		"cat /etc/motto":                            "hello\n",
		"cat /proc/1/comm":                          "systemd\n",
		"stat -fc %T /sys/fs/cgroup":                "cgroup2fs\n",
		"systemctl is-system-running --wait":        "running\n",
		"modprobe -a dummy vhost_net ufs && echo y": "y\n",
	} {
		if got, err := g.Run(ctx, script); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", script, got, err, want)
		}
	}
	var exit *debguest.ExitError
	if _, err := g.Run(ctx, "exit 7"); !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("exit 7: %v", err)
	}
	began = time.Now()
	if err := g.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("powered off in %v", time.Since(began).Round(100*time.Millisecond))
	text, err := os.ReadFile(g.ConsoleLog)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "reboot: Power down") {
		t.Errorf("no power down on the console:\n%s", text)
	}
}
