package mount

import (
	"strings"
	"testing"

	"kvmctl/internal/mountinfo"
	"kvmctl/internal/runner"
)

func TestValidate(t *testing.T) {
	good := Mount{"/dev/drbd0", "/srv", "ext4", "noatime,nofail", Preen}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Mount){
		`device "drbd0" is no absolute path`:                                                          func(m *Mount) { m.Device = "drbd0" },
		`dir "-x" is no absolute path`:                                                                func(m *Mount) { m.Dir = "-x" },
		`dir is the root directory`:                                                                   func(m *Mount) { m.Dir = "/.." },
		`type "" is no name of a file system`:                                                         func(m *Mount) { m.Type = "" },
		`type "ext4,xfs" is no name of a file system`:                                                 func(m *Mount) { m.Type = "ext4,xfs" },
		`option "bind" is not for a group's file system`:                                              func(m *Mount) { m.Options = "ro,bind" },
		`option "loop=/dev/loop1" is not for a group's file system`:                                   func(m *Mount) { m.Options = "loop=/dev/loop1" },
		"fsck fail is known for ext2, ext3, ext4 and xfs, not for btrfs":                              func(m *Mount) { m.Type, m.Fsck = "btrfs", Fail },
		"type \"/\" is no name of a file system\noption \"remount\" is not for a group's file system": func(m *Mount) { m.Type, m.Options = "/", "remount" },
	} {
		m := good
		change(&m)
		if err := m.Validate(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestWhatChecks(t *testing.T) {
	for _, tt := range []struct {
		m    Mount
		want string
	}{
		{Mount{Type: "ext4"}, "e2fsck -p D"},
		{Mount{Type: "ext2"}, "e2fsck -p D"},
		{Mount{Type: "ext4", Options: "noatime,ro"}, ""},
		{Mount{Type: "ext4", Options: "ro,rw"}, "e2fsck -p D"},
		{Mount{Type: "ext4", Options: "ro", Fsck: Fail}, "e2fsck -n D"},
		{Mount{Type: "ext4", Fsck: Never}, ""},
		{Mount{Type: "xfs"}, ""},
		{Mount{Type: "xfs", Fsck: Fail}, "xfs_repair -n D"},
		{Mount{Type: "btrfs"}, ""},
	} {
		tt.m.Device = "D"
		if got := strings.Join(checkArgv(tt.m), " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.m, got, tt.want)
		}
	}
	for _, tt := range []struct {
		fsck Fsck
		exit int
		good bool
	}{{Preen, 0, true}, {Preen, 1, true}, {Preen, 3, true}, {Preen, 4, false}, {Preen, 12, false}, {Preen, -1, false}, {Fail, 0, true}, {Fail, 1, false}} {
		if err := judge(Mount{Type: "ext4", Fsck: tt.fsck}, []string{"e2fsck"}, runner.Result{Exit: tt.exit}); (err == nil) != tt.good {
			t.Errorf("%v: exit %d: %v", tt.fsck, tt.exit, err)
		}
	}
}

func TestFsckNames(t *testing.T) {
	for _, f := range []Fsck{Preen, Never, Fail} {
		var got Fsck
		if err := got.UnmarshalText([]byte(f.String())); err != nil || got != f {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	if err := new(Fsck).UnmarshalText([]byte("yes")); err == nil || err.Error() != `"yes" is none of preen, never, fail` {
		t.Error(err)
	}
}

func table(t *testing.T, lines ...string) []mountinfo.Entry {
	t.Helper()
	all, err := mountinfo.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTheOrderOfUnmounting(t *testing.T) {
	all := table(t,
		"1 0 8:1 / / rw - ext4 /dev/sda1 rw",
		"10 1 147:0 / /srv rw - ext4 /dev/drbd0 rw",
		"11 10 0:50 / /srv/tmp rw - tmpfs a rw",
		"12 11 0:51 / /srv/tmp/deep rw - tmpfs b rw",
		"13 1 147:0 /home /home rw - ext4 /dev/drbd0 rw",
		"14 10 0:52 / /srv rw - tmpfs over rw",
		"15 13 8:1 /opt /home/opt rw - ext4 /dev/sda1 rw",
		"16 1 0:53 / /other rw - tmpfs c rw",
	)
	var got []string
	for _, e := range undo(all, number{147, 0}) {
		got = append(got, e.Point+" "+e.Type)
	}
	want := "/home/opt ext4,/home ext4,/srv tmpfs,/srv/tmp/deep tmpfs,/srv/tmp tmpfs,/srv ext4"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if e, ok := top(all, "/srv"); !ok || e.ID != 14 {
		t.Errorf("on top of /srv: %+v", e)
	}
	if _, ok := top(all, "/none"); ok {
		t.Error("something is on /none")
	}
}

func TestParseUnit(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unified", "0::/system.slice/smbd.service\n", "smbd.service"},
		{"unified, below", "0::/system.slice/docker.service/a/b\n", "docker.service"},
		{"hybrid", "9:pids:/x.service\n1:name=systemd:/system.slice/named.service\n0::/system.slice/named.service\n", "named.service"},
		{"version 1 beside an empty one", "1:name=systemd:/system.slice/named.service\n0::/\n", "named.service"},
		{"slices in slices", "0::/user.slice/user-1000.slice/session-3.scope", "session-3.scope"},
		{"a user's unit", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "user@1000.service"},
		{"an instance", "0::/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"},
		{"a container", "0::/machine.slice/libpod-abc.scope/container", "libpod-abc.scope"},
		{"seen from another cgroup namespace", "0::/../../system.slice/x.service", "x.service"},
		{"escaped", "0::/system.slice/_cpu.service", "cpu.service"},
		{"init", "0::/init.scope", "init.scope"},
		{"none", "0::/", ""},
		{"no unit", "0::/foo/x.service", ""},
		{"only controllers", "3:cpu:/system.slice/x.service", ""},
		{"a name that lies", "0::/system.slice/a b.service", ""},
		{"just a suffix", "0::/.service", ""},
		{"empty", "", ""},
	} {
		if got := parseUnit(tt.text); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestParseMapping(t *testing.T) {
	for _, tt := range []struct {
		line string
		dev  number
		path string
		ok   bool
	}{
		{"7f00-7f01 r-xp 00001000 fe:10 1234                       /usr/lib/a b.so", number{0xfe, 0x10}, "/usr/lib/a b.so", true},
		{"7f00-7f01 rw-p 00000000 00:00 0 ", number{}, "", false},
		{"7f00-7f01 rw-p 00000000 00:00 0                          [heap]", number{}, "", false},
		{"7f00-7f01 rw-p 00000000 zz:00 12                         /x", number{}, "", false},
		{"7f00-7f01 rw-p", number{}, "", false},
		{"", number{}, "", false},
	} {
		if dev, path, ok := parseMapping(tt.line); dev != tt.dev || path != tt.path || ok != tt.ok {
			t.Errorf("%q: %v %q %v", tt.line, dev, path, ok)
		}
	}
}

func FuzzParseUnit(f *testing.F) {
	f.Add("1:name=systemd:/system.slice/_named.service\n0::/user.slice/x.scope")
	f.Fuzz(func(t *testing.T, s string) {
		if u := parseUnit(s); u != "" && (!unitName(u) || strings.ContainsAny(u, "/ \n") || len(u) > 255) {
			t.Errorf("%q out of %q", u, s)
		}
	})
}

func FuzzParseMapping(f *testing.F) {
	f.Add("7f00-7f01 r-xp 00001000 fe:10 1234                       /usr/lib/a b.so")
	f.Fuzz(func(t *testing.T, s string) {
		if dev, path, ok := parseMapping(s); !ok && (dev != number{} || path != "") || !strings.HasSuffix(s, path) {
			t.Errorf("%v %q %v out of %q", dev, path, ok, s)
		}
	})
}

func FuzzParseSpace(f *testing.F) {
	f.Add("mnt:[4026531841]")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := parseSpace(s); ok && (id == 0 && !strings.Contains(s, "0") || !strings.HasPrefix(s, "mnt:[")) {
			t.Errorf("%d out of %q", id, s)
		}
	})
}

// TestWhatRemainsInAnotherNamespace tells the copies that go with an unmount from those that stay.
func TestWhatRemainsInAnotherNamespace(t *testing.T) {
	own := table(t,
		"1 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw",
		"10 1 147:0 / /srv rw shared:9 - ext4 /dev/drbd0 rw")
	for _, tt := range []struct {
		name  string
		other []string
		third []string // of a namespace between the two
		want  int
	}{
		{"a slave", []string{"2 0 8:1 / / rw master:1 - ext4 /dev/sda1 rw", "20 2 147:0 / /srv rw master:9 - ext4 /dev/drbd0 rw"}, nil, 0},
		{"a peer", []string{"2 0 8:1 / / rw shared:1 - ext4 /dev/sda1 rw", "20 2 147:0 / /srv rw shared:9 - ext4 /dev/drbd0 rw"}, nil, 0},
		{"private", []string{"2 0 8:1 / / rw - ext4 /dev/sda1 rw", "20 2 147:0 / /srv rw - ext4 /dev/drbd0 rw"}, nil, 1},
		{"private, only above", []string{"2 0 8:1 / / rw - ext4 /dev/sda1 rw", "20 2 147:0 / /srv rw master:9 - ext4 /dev/drbd0 rw"}, nil, 1},
		{"a slave of another group", []string{"2 0 8:1 / / rw master:3 - ext4 /dev/sda1 rw", "20 2 147:0 / /srv rw - ext4 /dev/drbd0 rw"}, nil, 1},
		{"a slave of a slave", []string{"2 0 8:1 / / rw master:3 - ext4 /dev/sda1 rw", "20 2 147:0 / /srv rw - ext4 /dev/drbd0 rw"},
			[]string{"3 0 8:1 / / rw shared:3 master:1 - ext4 /dev/sda1 rw"}, 0},
		{"a slave, elsewhere", []string{"2 0 8:1 / / rw master:1 - ext4 /dev/sda1 rw", "20 2 147:0 / /mnt rw - ext4 /dev/drbd0 rw"}, nil, 1},
		{"a slave, below a directory", []string{"2 0 8:1 /srv /data rw master:1 - ext4 /dev/sda1 rw", "20 2 147:0 / /data rw - ext4 /dev/drbd0 rw"}, nil, 0},
		{"a slave, with its root elsewhere", []string{"2 0 8:1 / /host rw master:1 - ext4 /dev/sda1 rw", "20 2 147:0 / /host/srv rw - ext4 /dev/drbd0 rw"}, nil, 0},
		{"two, one bound", []string{"2 0 8:1 / / rw master:1 - ext4 /dev/sda1 rw", "20 2 147:0 / /srv rw - ext4 /dev/drbd0 rw",
			"21 2 147:0 /x /var/x rw - ext4 /dev/drbd0 rw"}, nil, 1},
		{"none", []string{"2 0 8:1 / / rw master:1 - ext4 /dev/sda1 rw"}, nil, 0},
	} {
		other := table(t, tt.other...)
		all := map[uint64][]mountinfo.Entry{1: own, 2: other, 3: table(t, tt.third...)}
		if got := remaining(own, own[1], other, number{147, 0}, all); len(got) != tt.want {
			t.Errorf("%s: %d remain, want %d", tt.name, len(got), tt.want)
		}
		if got := remaining(own[:1], mountinfo.Entry{}, other, number{147, 0}, all); len(got) < tt.want || tt.name != "none" && len(got) == 0 {
			t.Errorf("%s, not mounted here: %d remain", tt.name, len(got))
		}
	}
}

func FuzzParseSockets(f *testing.F) {
	f.Add([]byte{36, 0, 0, 0, 20, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 10, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0})
	f.Add([]byte{46, 0, 0, 0, 20, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 10, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 48, 9, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		all := make(map[uint64]string)
		parseSockets(b, number{147, 0}, all)
		if len(all) > len(b)/(netlinkHeader+unixDiagMsg+12) {
			t.Errorf("%d sockets out of %d bytes", len(all), len(b))
		}
	})
}

func TestParseSwaps(t *testing.T) {
	got := parseSwaps("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" +
		"/dev/sda2                               partition\t975868\t\t0\t\t-2\n" +
		"/srv/a\\040swap\\040file\\040(deleted)\tfile\t\t1020\t\t0\t\t-3\n/x\n\n")
	if s := strings.Join(got, "|"); s != "/dev/sda2|/srv/a swap file (deleted)" {
		t.Errorf("got %s", s)
	}
}

func TestParseExports(t *testing.T) {
	got := parseExports("# Version 1.1\n# Path Client(Flags) # IPs\n/srv/a\\040b\t10.0.0.0/8(rw,sync)\n/x\n#/y\tz(rw)\nrelative\tz(rw)\n/z\t*(ro)\n")
	if len(got) != 2 || got[0] != (export{"/srv/a b", "10.0.0.0/8"}) || got[1] != (export{"/z", "*"}) {
		t.Errorf("got %q", got)
	}
}

func FuzzParseSwaps(f *testing.F) {
	f.Add("Filename Type\n/dev/sda2 partition 1 2 3\n/a\\040b\tfile")
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range parseSwaps(s) {
			if !strings.HasPrefix(p, "/") {
				t.Errorf("%q out of %q", p, s)
			}
		}
	})
}

func FuzzParseExports(f *testing.F) {
	f.Add("# Version 1.1\n/srv/a\\040b\t10.0.0.0/8(rw,sync)\n/x")
	f.Fuzz(func(t *testing.T, s string) {
		for _, e := range parseExports(s) {
			if !strings.HasPrefix(e.path, "/") || strings.Contains(e.client, "(") && !strings.Contains(s, "\\") {
				t.Errorf("%+v out of %q", e, s)
			}
		}
	})
}

func FuzzLayered(f *testing.F) {
	f.Add("rw,lowerdir=/srv/a:/srv/b\\040c,upperdir=/x", "/srv")
	f.Fuzz(func(t *testing.T, super, dir string) {
		if layered(super, []string{dir}) && !strings.Contains(super, "dir") {
			t.Errorf("%q in %q", dir, super)
		}
	})
}
