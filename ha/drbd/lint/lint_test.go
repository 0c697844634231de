package lint_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func load(t testing.TB, label, text string) *conf.Config {
	t.Helper()
	c, err := conf.Load(conf.Memory{"/r.conf": []byte(text)}, label, "/r.conf")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The seed's own file, as it lay on both of its nodes.
func TestSeed(t *testing.T) {
	c, err := conf.Load(conf.Dir("../conf/testdata/corpus"), "", "/84-seed.conf")
	if err != nil {
		t.Fatal(err)
	}
	c.Files[0].Mode = 0o644
	var b strings.Builder
	for _, f := range lint.Lint(lint.Input{Here: c, Peer: c, Host: "varda2", PeerHost: "vm-varda", Facts: lint.Facts{DRBD: 8}}) {
		fmt.Fprintf(&b, "%v\n    why: %s\n    better: %s\n", f, f.Why, f.Better)
	}
	golden := filepath.Join("testdata", "seed.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(b.String(), "tpri") {
		t.Error("the secret is repeated")
	}
}

// good has nothing to find; each case below spoils it by one replacement.
const good = `common {
 net { protocol C; cram-hmac-alg sha256; shared-secret "s3cr3t"; verify-alg crc32c; after-sb-0pri discard-zero-changes; }
 disk { fencing resource-and-stonith; resync-rate 33M; }
 handlers { fence-peer "/usr/local/bin/kvmha fence-peer"; after-resync-target "/usr/local/bin/kvmha unfence"; before-resync-target "/usr/local/bin/kvmha before-resync"; split-brain "/usr/local/bin/kvmha split-brain"; }
}
resource r0 {
 on alpha { device /dev/drbd0; disk /dev/vg/r0; meta-disk internal; address 10.0.0.1:7788; }
 on beta { device /dev/drbd0; disk /dev/vg/r0; meta-disk internal; address 10.0.0.2:7788; }
}
resource r1 {
 on alpha { device /dev/drbd1; disk /dev/vg/r1; meta-disk internal; address 10.0.0.1:7789; }
 on beta { device /dev/drbd1; disk /dev/vg/r1; meta-disk internal; address 10.0.0.2:7789; }
}
`

func TestRules(t *testing.T) {
	at := func(file string) conf.Position { return conf.Position{File: file, Line: 1, Column: 1} }
	boot := func(units ...string) (f lint.Facts) {
		f.DRBD = 8
		for _, u := range units {
			f.AtBoot = append(f.AtBoot, lint.Link{Unit: u, At: conf.Position{File: "/wants/" + u}})
		}
		return f
	}
	mount := func(unit, what, options string) lint.Facts {
		f := boot()
		f.Mounts = []lint.Mount{{What: what, Where: "/srv", Unit: unit, Options: strings.Split(options, ","), At: at("/etc/fstab")}}
		return f
	}
	enabled := func(f lint.Facts, unit string) lint.Facts {
		f.AtBoot = boot(unit).AtBoot
		return f
	}
	for _, c := range []struct {
		name     string
		old, new string // in good
		facts    lint.Facts
		groups   []lint.Group
		want     string // the findings, without why and better
	}{
		{name: "good"},
		{"least changes", "discard-zero-changes", "discard-least-changes", boot(), nil, "/r.conf:2:85: danger: after-sb-0pri discard-least-changes"},
		{"a node's data", "discard-zero-changes", "discard-node-alpha", boot(), nil, "/r.conf:2:85: danger: after-sb-0pri discard-node-alpha"},
		{"in one resource", "resource r0 {", "resource r0 { net { after-sb-1pri violently-as0p; }", boot(), nil, "/r.conf:6:21: danger: after-sb-1pri violently-as0p"},
		{"2pri", "protocol C;", "after-sb-2pri violently-as0p;", boot(), nil, "/r.conf:2:8: danger: after-sb-2pri violently-as0p"},
		{"rr-conflict", "protocol C;", "rr-conflict violently;", boot(), nil, "/r.conf:2:8: danger: rr-conflict violently"},
		{"protocol", "protocol C", "protocol A", boot(), nil, "/r.conf:2:8: danger: protocol A"},
		{"old protocol", "resource r0 {", "resource r0 { protocol C;", boot(), nil, "/r.conf:6:15: note: protocol outside of net"},
		{"two primaries", "protocol C;", "allow-two-primaries;", boot(), nil, "/r.conf:2:8: danger: allow-two-primaries yes"},
		{"no fencing", "fencing resource-and-stonith; ", "", boot(), nil, "/r.conf:6:10: danger: no fencing policy: r0, r1"},
		{"weak fencing", "resource-and-stonith", "resource-only", boot(), nil, "/r.conf:3:9: danger: fencing resource-only"},
		{"fencing as in nine", "}\n disk { fencing resource-and-stonith;", " fencing resource-and-stonith; }\n disk {", boot(), nil, "/r.conf:2:122: warning: fencing is an option of disk"},
		{"no handler", "fence-peer \"/usr/local/bin/kvmha fence-peer\";", "", boot(), nil, "/r.conf:6:10: warning: no fence-peer handler: r0, r1"},
		{"another handler", "/usr/local/bin/kvmha fence-peer", "/usr/lib/drbd/crm-fence-peer.sh", boot(), nil, "/r.conf:4:13: warning: fence-peer is not kvmha"},
		{"never unfenced", "kvmha unfence", "true", boot(), nil, "/r.conf:6:10: warning: no after-resync-target handler: r0, r1"},
		{"not told before a resync", "kvmha before-resync", "true", boot(), nil, "/r.conf:6:10: warning: no before-resync-target handler of kvmha's: r0, r1"},
		{"not told of a split brain", "kvmha split-brain", "true", boot(), nil, "/r.conf:6:10: note: no split-brain handler of kvmha's: r0, r1"},
		{"nine promotes", "", "", lint.Facts{DRBD: 9}, nil, "/r.conf:6:10: danger: auto-promote is not no: r0, r1\n/r.conf:3:9: warning: fencing is an option of net"},
		{"nine by its looks", "address 10.0.0.1:7788", "node-id 1; address 10.0.0.1:7788", lint.Facts{}, nil, "/r.conf:6:10: danger: auto-promote is not no: r0, r1\n/r.conf:3:9: warning: fencing is an option of net"},
		{"perhaps nine", "common {", "common {", lint.Facts{}, nil, "/r.conf:6:10: note: auto-promote is not no: r0, r1"},
		{"promotes", "common {", "common { options { auto-promote yes; }", boot(), nil, "/r.conf:1:20: danger: auto-promote yes"},
		{"no secret", "cram-hmac-alg sha256; shared-secret \"s3cr3t\";", "", boot(), nil, "/r.conf:6:10: warning: no cram-hmac-alg, no shared-secret: r0, r1"},
		{"half a secret", "cram-hmac-alg sha256;", "", boot(), nil, "/r.conf:6:10: warning: one of cram-hmac-alg and shared-secret without the other: r0, r1"},
		{"boots alone", "common {", "common { startup { wfc-timeout 10; degr-wfc-timeout 0; outdated-wfc-timeout 5; }", boot(), nil, "/r.conf:1:20: warning: wfc-timeout 10"},
		{"primary by hand", "common {", "common { startup { become-primary-on both; }", boot(), nil, "/r.conf:1:20: warning: become-primary-on both"},
		{"primary at boot", "common {", "common { startup { become-primary-on both; }", boot("drbd.service"), nil, "/r.conf:1:20: danger: become-primary-on both (/wants/drbd.service)"},
		{"drbd.service alone", "common {", "common {", boot("drbd.service", "drbd@r0.target"), nil, ""},
		{"drbd.service beside the agent", "common {", "common {", boot("drbd.service"), []lint.Group{{Name: "files", Storage: true, Resources: []string{"r0", "r1"}}}, "/wants/drbd.service: warning: drbd.service begins at boot"},
		{"promoted by systemd", "common {", "common {", boot("drbd-promote@r0.service"), nil, "/wants/drbd-promote@r0.service: danger: drbd-promote@r0.service begins at boot"},
		{"another manager", "common {", "common {", boot("pacemaker.service"), nil, "/wants/pacemaker.service: danger: pacemaker.service begins at boot"},
		{"a unit of a group", "common {", "common {", boot("smbd.service"), []lint.Group{{Name: "files", Units: []string{"smbd"}, Storage: true, Resources: []string{"r0", "r1"}}}, "/wants/smbd.service: danger: smbd.service of group \"files\" begins at boot"},
		{"a socket of a unit", "common {", "common {", boot("smbd.socket", "smbd.slice", "smbd2.socket", "nmbd.socket"), []lint.Group{{Name: "files", Units: []string{"smbd", "nmbd.target"}, Storage: true, Resources: []string{"r0", "r1"}}}, "/wants/smbd.socket: danger: smbd.socket of group \"files\" begins at boot"},
		{"a unit of an address", "common {", "common {", boot("named.service"), []lint.Group{{Name: "dns", Units: []string{"named.service"}}}, "/wants/named.service: note: named.service of group \"dns\" begins at boot"},
		{"syncer", "resource r0 {", "resource r0 { syncer { rate 100M; use-rle; }", boot(), nil, "/r.conf:6:24: warning: rate 100M in syncer\n/r.conf:6:35: note: use-rle in syncer"},
		{"bits", "33M", "1G", boot(), nil, "/r.conf:3:39: note: resync-rate 1G"},
		{"tenths", "protocol C;", "timeout 100;", boot(), nil, "/r.conf:2:8: warning: timeout 100 with ping-int 10\n/r.conf:2:8: warning: timeout 100 with connect-int 10"},
		{"KiB that were meant to be MiB", "33M", "33", boot(), nil, "/r.conf:3:39: warning: resync-rate 33"},
		{"KiB in syncer", "resource r0 {", "resource r0 { syncer { rate 30; }", boot(), nil, "/r.conf:6:24: warning: rate 30 in syncer\n/r.conf:6:24: warning: resync-rate 30"},
		{"KiB with their suffix", "33M", "2048K", boot(), nil, ""},
		{"no resync rate", "33M", "0", boot(), nil, ""},
		{"bytes of a buffer", "protocol C;", "sndbuf-size 512; rcvbuf-size 512K;", boot(), nil, "/r.conf:2:8: warning: sndbuf-size 512"},
		{"a buffer that the kernel finds", "protocol C;", "sndbuf-size 0;", boot(), nil, ""},
		{"a disk given up", "resync-rate 33M;", "disk-timeout 30;", boot(), nil, "/r.conf:3:39: warning: disk-timeout 30"},
		{"a disk never given up", "resync-rate 33M;", "disk-timeout 0;", boot(), nil, ""},
		{"discards always", "protocol C;", "discard-my-data;", boot(), nil, "/r.conf:2:8: danger: discard-my-data yes"},
		{"ahead of the peer", "protocol C;", "on-congestion pull-ahead;", boot(), nil, "/r.conf:2:8: danger: on-congestion pull-ahead"},
		{"parted by a full link", "protocol C;", "on-congestion disconnect;", boot(), nil, "/r.conf:2:8: warning: on-congestion disconnect"},
		{"no activity log", "resync-rate 33M;", "al-updates no;", boot(), nil, "/r.conf:3:39: warning: al-updates no"},
		{"protocol B", "protocol C", "protocol B", boot(), nil, "/r.conf:2:8: danger: protocol B"},
		{"minor twice", "/dev/drbd1;", "/dev/drbd0;", boot(), nil, "/r.conf:11:20: warning: minor 0 of alpha in r0 and in r1 (/r.conf:7:20)"},
		{"port twice", "10.0.0.2:7789", "10.0.0.2:7788", boot(), nil, "/r.conf:12:76: warning: address 10.0.0.2:7788 of beta in r0 and in r1 (/r.conf:8:76)"},
		{"disk twice", "disk /dev/vg/r1", "disk /dev/vg/r0", boot(), nil, "/r.conf:11:37: danger: disk /dev/vg/r0 of alpha in r0 and in r1 (/r.conf:7:37)"},
		{"one host in two spellings", "on beta", "on betta", boot(), nil, "/r.conf:12:5: warning: host \"beta\" in r1, but \"betta\" in r0 (/r.conf:8:5)"},
		{"a host gone", " on beta { device /dev/drbd0; disk /dev/vg/r0; meta-disk internal; address 10.0.0.2:7788; }", "", boot(), nil, "/r.conf:6:10: warning: resource r0 has one host"},
		{"unknown option", "protocol C;", "protocl C;", boot(), nil, "/r.conf:2:8: warning: unknown option \"protocl\" of net"},
		{"fstab", "common {", "common {", mount("", "/dev/drbd0", "defaults"), nil, "/etc/fstab:1:1: danger: mounts /dev/drbd0 on /srv at boot"},
		{"fstab, noauto", "common {", "common {", mount("", "/dev/drbd/by-res/r0/0", "noauto,noatime"), nil, ""},
		{"fstab, automount", "common {", "common {", mount("", "/dev/drbd/by-res/r0/0", "noauto,x-systemd.automount"), nil, "/etc/fstab:1:1: danger: mounts /dev/drbd/by-res/r0/0 on /srv at boot"},
		{"fstab, another", "common {", "common {", mount("", "/dev/drbd7", "defaults"), nil, ""},
		{"fstab, the disk below", "common {", "common {", mount("", "/dev/vg/r1", "defaults"), nil, "/etc/fstab:1:1: danger: mounts /dev/vg/r1 on /srv"},
		{"fstab, the disk below by hand", "common {", "common {", mount("", "/dev/vg/r1", "noauto"), nil, "/etc/fstab:1:1: warning: mounts /dev/vg/r1 on /srv"},
		{"mount unit, of the agent", "common {", "common {", mount("srv.mount", "/dev/drbd1", ""), nil, ""},
		{"mount unit at boot", "common {", "common {", enabled(mount("srv.mount", "/dev/drbd1", ""), "srv.mount"), nil, "/etc/fstab:1:1: danger: srv.mount mounts /dev/drbd1 on /srv at boot (/wants/srv.mount)"},
		{"mount unit on access", "common {", "common {", enabled(mount("srv.mount", "/dev/drbd1", ""), "srv.automount"), nil, "/etc/fstab:1:1: danger: srv.automount mounts /dev/drbd1 on /srv at boot (/wants/srv.automount)"},
		{"watchdog", "common {", "common {", lint.Facts{DRBD: 8, Watchdogs: []lint.Setting{{"off", at("/a")}, {"20s", at("/b")}}}, nil, "/b:1:1: warning: RuntimeWatchdogSec=20s"},
		{"watchdog off", "common {", "common {", lint.Facts{DRBD: 8, Watchdogs: []lint.Setting{{"20s", at("/a")}, {"off", at("/b")}}}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if c.name == "good" {
				c.facts.DRBD = 8
			}
			in := lint.Input{Here: load(t, "", text), Facts: c.facts, Groups: c.groups}
			var got []string
			for _, f := range lint.Lint(in) {
				got = append(got, f.String())
				if f.Why == "" || f.Better == "" && f.Severity != lint.Note && !strings.HasPrefix(f.What, "unknown") {
					t.Errorf("%v: why %q, better %q", f, f.Why, f.Better)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecretFileIsOpen(t *testing.T) {
	in := lint.Input{Here: load(t, "", good), Facts: lint.Facts{DRBD: 8}}
	for mode, want := range map[uint32]int{0o600: 0, 0o640: 0, 0o644: 1, 0: 0} {
		in.Here.Files[0].Mode = mode
		if got := lint.Lint(in); len(got) != want || want > 0 && got[0].What != "everybody may read the shared secret" {
			t.Errorf("%o: %v", mode, got)
		}
	}
}

func TestThePeerDiffers(t *testing.T) {
	there := strings.NewReplacer("s3cr3t", "other", "10.0.0.1:7788", "10.0.0.1:7787", "verify-alg crc32c; ", "", "resource r1", "resource r9").Replace(good)
	var got []string
	for _, f := range lint.Lint(lint.Input{Here: load(t, "", good), Peer: load(t, "peer:", there), Host: "alpha", PeerHost: "beta", Facts: lint.Facts{DRBD: 8}}) {
		got = append(got, f.String())
	}
	want := []string{
		"/r.conf:2:42: warning: resource r0: net shared-secret is (hidden) here, (hidden) at the peer (peer:/r.conf:2:42)",
		"/r.conf:2:66: warning: resource r0: net verify-alg is crc32c here, nothing at the peer (peer:/r.conf:6:10)",
		"/r.conf:7:77: warning: resource r0, on alpha: address is 10.0.0.1:7788 here, 10.0.0.1:7787 at the peer (peer:/r.conf:7:77)",
		"/r.conf:10:10: warning: resource r1 is here, not at the peer (peer:/r.conf)",
		"/r.conf: warning: resource r9 is at the peer, not here (peer:/r.conf:10:10)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsOverriddenIsNotJudged(t *testing.T) {
	bad := strings.Replace(good, "discard-zero-changes", "discard-least-changes", 1)
	once := strings.Replace(bad, "resource r0 {", "resource r0 { net { after-sb-0pri disconnect; }", 1)
	both := strings.Replace(once, "resource r1 {", "resource r1 { net { after-sb-0pri disconnect; }", 1)
	for text, want := range map[string]int{bad: 1, once: 1, both: 0} {
		if got := lint.Lint(lint.Input{Here: load(t, "", text), Facts: lint.Facts{DRBD: 8}}); len(got) != want {
			t.Errorf("%d findings are wanted: %v", want, got)
		}
	}
}

func TestADangerIsNotHiddenBehindManyNotes(t *testing.T) {
	var b strings.Builder
	b.WriteString(good)
	for i := range 100 {
		fmt.Fprintf(&b, "resource x%d { protocol C; }\n", i)
	}
	b.WriteString("resource last { net { protocol A; } }\n")
	got := lint.Lint(lint.Input{Here: load(t, "", b.String()), Facts: lint.Facts{DRBD: 8}})
	if len(got) == 0 || got[0].What != "protocol A" || !slices.ContainsFunc(got, func(f lint.Finding) bool { return f.Severity == lint.Note && f.What == "52 more of this rule" }) {
		t.Errorf("%v", got)
	}
}

func TestHostsWithNumbersAreNoSlips(t *testing.T) {
	text := strings.NewReplacer("on beta", "on node2", "on alpha { device /dev/drbd1", "on node3 { device /dev/drbd1", "on alpha", "on node1").Replace(good)
	if got := lint.Lint(lint.Input{Here: load(t, "", text), Facts: lint.Facts{DRBD: 8}}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestThisHostIsTheRightSpelling(t *testing.T) {
	in := lint.Input{Here: load(t, "", strings.Replace(good, "on beta", "on betta", 1)), Host: "betta", Facts: lint.Facts{DRBD: 8}}
	if got := lint.Lint(in); len(got) != 1 || !strings.HasPrefix(got[0].What, `host "beta" in r1, but "betta" in r0`) || got[0].Better != "on betta" {
		t.Errorf("%v", got)
	}
	in.Host = "elsewhere"
	if got := lint.Lint(in); !slices.ContainsFunc(got, func(f lint.Finding) bool { return f.What == "no resource names elsewhere" }) {
		t.Errorf("%v", got)
	}
}
