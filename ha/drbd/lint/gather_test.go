package lint_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
)

// tree makes files below a directory of its own; a text that begins with "-> " is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestGather(t *testing.T) {
	root := tree(t, map[string]string{
		"proc/drbd": "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 211FB288A383ED945B83420\n",
		"sys/module/drbd/parameters/usermode_helper": "/sbin/drbdadm\n",
		"etc/fstab":      "# <file system>\n/dev/drbd0 /srv/a\\040b ext4 noauto,noatime 0 2\n\n  /dev/drbd1\tnone swap sw 0 0\nshort\n",
		"etc/rcS.d/S01x": "", "etc/rc2.d/S20drbd": "-> ../init.d/drbd", "etc/rc3.d/S20drbd": "-> ../init.d/drbd", "etc/rc2.d/K20other": "", "etc/rc2.d/README": "",
		"etc/systemd/system/srv.mount":                                  "[Unit]\nDescription=[x]\n[Mount]\nWhat=/dev/drbd/by-res/r0/0\nWhere=/srv\n Options = noatime,\\\n nodev\n",
		"usr/lib/systemd/system/srv.mount":                              "[Mount]\nWhat=/dev/vda\n",
		"usr/lib/systemd/system/off.mount":                              "[Mount]\nWhat=/dev/drbd7\n",
		"etc/systemd/system/off.mount":                                  "-> /dev/null",
		"etc/systemd/system/multi-user.target.wants/srv.mount":          "-> ../srv.mount",
		"etc/systemd/system/multi-user.target.wants/masked.service":     "-> /usr/lib/systemd/system/masked.service",
		"etc/systemd/system/masked.service":                             "-> /dev/null",
		"usr/lib/systemd/system/sysinit.target.requires/vendor.service": "-> ../vendor.service",
		"run/systemd/system/x.wants/now.service":                        "-> y",
		"etc/systemd/system.conf":                                       "[Manager]\n#RuntimeWatchdogSec=off\nRuntimeWatchdogSec=30\n",
		"etc/systemd/system.conf.d/50-b.conf":                           "[Manager]\nRuntimeWatchdogSec=1min\n",
		"usr/lib/systemd/system.conf.d/50-b.conf":                       "[Manager]\nRuntimeWatchdogSec=2min\n",
		"usr/lib/systemd/system.conf.d/90-z.conf":                       "[Other]\nRuntimeWatchdogSec=3min\n",
	})
	got, err := lint.Gather(root, "L:")
	if err != nil {
		t.Fatal(err)
	}
	at := func(file string, lc ...int) conf.Position {
		p := conf.Position{File: "L:" + file}
		if len(lc) == 2 {
			p.Line, p.Column = lc[0], lc[1]
		}
		return p
	}
	want := lint.Facts{
		DRBD: 8, Helper: lint.Setting{Value: "/sbin/drbdadm", At: at("/sys/module/drbd/parameters/usermode_helper")},
		Mounts: []lint.Mount{
			{What: "/dev/drbd0", Where: "/srv/a b", Options: []string{"noauto", "noatime"}, At: at("/etc/fstab", 2, 1)},
			{What: "/dev/drbd1", Options: []string{"sw"}, At: at("/etc/fstab", 4, 3)},
			{What: "/dev/drbd/by-res/r0/0", Where: "/srv", Options: []string{"noatime", "nodev"}, Unit: "srv.mount", At: at("/etc/systemd/system/srv.mount", 4, 1)},
		},
		AtBoot: []lint.Link{
			{Unit: "srv.mount", At: at("/etc/systemd/system/multi-user.target.wants/srv.mount")},
			{Unit: "vendor.service", At: at("/usr/lib/systemd/system/sysinit.target.requires/vendor.service")},
			{Unit: "drbd.service", At: at("/etc/rc2.d/S20drbd")},
		},
		Watchdogs: []lint.Setting{{Value: "30", At: at("/etc/systemd/system.conf", 3, 1)}, {Value: "1min", At: at("/etc/systemd/system.conf.d/50-b.conf", 2, 1)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGatherOfNothingAndOfAFIFO(t *testing.T) {
	root := t.TempDir()
	if got, err := lint.Gather(root, ""); err != nil || len(got.Mounts)+len(got.AtBoot)+len(got.Watchdogs)+got.DRBD != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "etc/fstab"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lint.Gather(root, ""); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a FIFO: %v", err)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte("/dev/drbd0 /srv\\040 ext4 noauto 0 0\n"))
	f.Add([]byte("[Mount]\nWhat=/dev/drbd0\\\n x\nOptions=a,b\n"))
	f.Add([]byte("[Manager]\n RuntimeWatchdogSec = 5\n"))
	f.Add([]byte("version: 8.4.11\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.Split(string(text), "\n")
		there := func(at conf.Position) {
			if at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len(lines[at.Line-1]) {
				t.Fatalf("%v is nowhere", at)
			}
		}
		for _, m := range lint.ParseFstab("f", text) {
			there(m.At)
			if m.What == "" || slices.Contains(m.Options, ",") {
				t.Fatalf("%+v", m)
			}
		}
		if m, ok := lint.ParseMountUnit("f", "x.mount", text); ok {
			there(m.At)
		}
		if s, ok := lint.ParseWatchdog("f", text); ok {
			there(s.At)
		}
		if n := lint.ParseVersion(text); n < 0 {
			t.Fatal(n)
		}
	})
}
