package agentcmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
)

const drbdPair = "resource r0 {\n on a { device /dev/drbd0; disk /dev/x; meta-disk internal; address 10.0.0.1:7788; }\n on b { device /dev/drbd0; disk /dev/x; meta-disk internal; address 10.0.0.2:7788; }\n}\n"

const drbdGood = "common {\n disk { fencing resource-and-stonith; }\n net { cram-hmac-alg sha1; shared-secret \"s3cr3t\"; verify-alg crc32c; }\n" +
	" handlers { fence-peer \"kvmha fence-peer\"; after-resync-target \"kvmha unfence\"; before-resync-target \"kvmha before-resync\"; split-brain \"kvmha split-brain\"; }\n}\n"

func TestDRBDLintIsATableAPersonReads(t *testing.T) {
	root := etc(t, map[string]string{
		"drbd.conf": "include \"drbd.d/*.res\";\n" + strings.Replace(drbdGood, "net {", "net { after-sb-2pri violently-as0p;", 1), "drbd.d/r0.res": drbdPair,
		"fstab": "/dev/drbd0 /srv ext4 defaults 0 2\n", "hostname": "a\n",
	})
	code, stdout, stderr := said(t, "--root", root, "drbd", "lint")
	want := `PLACE                    SEVERITY  WHAT
ROOT/etc/drbd.conf:4:8   danger    after-sb-2pri violently-as0p
                                   why: after a split brain with two primaries nothing may choose by itself: measured, the loser stays primary and the two go StandAlone again; the data change below a mounted file system
                                   better: after-sb-2pri disconnect;
ROOT/etc/fstab:1:1       danger    mounts /dev/drbd0 on /srv at boot
                                   why: the device of resource r0 is the active node's: elsewhere the mount fails and stops the boot, or DRBD 9 promotes for it
                                   better: noauto
ROOT/etc/drbd.d/r0.res:1:10  note      auto-promote is not no: r0
`
	got := strings.ReplaceAll(stdout, root, "ROOT")
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") } // the columns are as wide as the directory's name
	if code != 1 || stderr != "" || !strings.HasPrefix(squeeze(got), squeeze(want)) {
		t.Errorf("exit %d, %s\n%s", code, stderr, cmp.Diff(want, got))
	}
	lines := strings.Split(stdout, "\n")
	if column := strings.Index(lines[0], "WHAT"); !strings.HasPrefix(lines[2], strings.Repeat(" ", column)+"why: ") {
		t.Errorf("why is not below what:\n%s", stdout)
	}
}

func TestDRBDLintComparesWithThePeer(t *testing.T) {
	root := etc(t, map[string]string{"drbd.conf": drbdGood + drbdPair, "hostname": "a", "peer.conf": strings.Replace(drbdGood, "s3cr3t", "t0pping", 1), "peer.res": drbdPair})
	peer := []string{"--peer-file", filepath.Join(root, "etc/peer.conf"), "--peer-file", filepath.Join(root, "etc/peer.res")}
	code, stdout, _ := said(t, append([]string{"--root", root, "drbd", "lint", "--json"}, peer...)...)
	var got []lint.Finding
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v\n%s", err, stdout)
	}
	want := lint.Finding{Severity: lint.Warning, Position: conf.Position{File: root + "/etc/drbd.conf", Line: 3, Column: 28},
		Other: conf.Position{File: "peer:" + root + "/etc/peer.conf", Line: 3, Column: 28}, What: "resource r0: net shared-secret is (hidden) here, (hidden) at the peer"}
	if len(got) != 2 || got[1].Severity != lint.Note {
		t.Fatalf("%v", got)
	}
	got[0].Why, got[0].Better = "", ""
	if diff := cmp.Diff(want, got[0]); diff != "" || code != 1 {
		t.Errorf("exit %d (-want +got):\n%s", code, diff)
	}
	if strings.Contains(stdout, "s3cr3t") || strings.Contains(stdout, "t0pping") {
		t.Errorf("a secret is printed:\n%s", stdout)
	}
}

func TestDRBDLintExitCodes(t *testing.T) {
	root := etc(t, map[string]string{"drbd.conf": drbdGood + drbdPair, "hostname": "b", "bad.conf": "common { net { shared-secret \"s3cr3t\" more; } }"})
	if code, stdout, stderr := said(t, "--root", root, "drbd", "lint"); code != 0 || stderr != "" || strings.Count(stdout, " note ") != 1 {
		t.Errorf("a note alone: exit %d\n%s%s", code, stdout, stderr)
	}
	bad := filepath.Join(root, "etc/bad.conf")
	if code, stdout, stderr := said(t, "--root", root, "drbd", "lint", bad); code != 2 || stdout != "" || stderr != "kvmha: error: cannot read drbd.conf: "+bad+":1:39: \";\" is expected, not another word\n" {
		t.Errorf("a syntax error: exit %d\n%s%s", code, stdout, stderr)
	}
	missing := filepath.Join(root, "missing")
	if code, stdout, stderr := said(t, "--root", root, "drbd", "lint", missing); code != 2 || stdout != "" || !strings.Contains(stderr, missing+": no such file or directory\n") || !strings.Contains(stderr, "drbd template --help") {
		t.Errorf("no file: exit %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := said(t, "--root", root, "drbd", "lint", "--json", filepath.Join(root, "etc/hostname")); code != 2 || stdout != "" {
		t.Errorf("another file: exit %d\n%s", code, stdout)
	}
	if code, _, stderr := said(t, "drbd", "lnt"); code != 2 || !strings.Contains(stderr, "did you mean `kvmha drbd lint`?") {
		t.Errorf("a slip: exit %d\n%s", code, stderr)
	}
}

func TestDRBDTemplatePassesLint(t *testing.T) {
	for _, version := range []string{"8.4", "9"} {
		root := etc(t, map[string]string{"hostname": "varda2"})
		words := []string{"--root", root, "drbd", "template", "admin", "--on", "varda2=10.4.0.102", "--on", "vm-varda=10.4.0.202:7000", "--device", "/dev/drbd3",
			"--disk", "/dev/vg/admin", "--disk", "/dev/vdb", "--drbd", version}
		code, stdout, stderr := said(t, words...)
		if code != 0 || !strings.Contains(stdout, "10.4.0.102:7791;") || !strings.Contains(stdout, "10.4.0.202:7000;") || !strings.Contains(stdout, "disk /dev/vdb;") || !strings.Contains(stderr, "mode 0600") {
			t.Fatalf("%s: exit %d\n%s%s", version, code, stdout, stderr)
		}
		if _, again, _ := said(t, words...); again == stdout {
			t.Error("the secret is the same again")
		}
		file := filepath.Join(root, "etc/drbd.conf")
		if err := os.WriteFile(file, []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := said(t, "--root", root, "drbd", "lint", "--peer-file", file); code != 0 || strings.Contains(stdout, "warning") {
			t.Errorf("%s: lint: exit %d\n%s%s", version, code, stdout, stderr)
		}
	}
}

func TestDRBDTemplateRefuses(t *testing.T) {
	good := map[string][]string{"--on": {"a=10.0.0.1", "b=10.0.0.2"}, "--device": {"/dev/drbd0"}, "--disk": {"/dev/x"}, "--drbd": {"9"}}
	for name, c := range map[string]struct {
		flag   string
		values []string
	}{
		"one node": {"--on", []string{"a=10.0.0.1"}}, "no address": {"--on", []string{"a=10.0.0.1", "b"}}, "a name": {"--on", []string{"a=10.0.0.1", "b=host"}},
		"no device": {"--device", []string{"/dev/sda"}}, "no disk": {"--disk", nil}, "a disk with a space": {"--disk", []string{"/dev/x y"}}, "a version": {"--drbd", []string{"8"}},
	} {
		words := []string{"drbd", "template", "r0"}
		for flag, values := range good {
			if flag == c.flag {
				values = c.values
			}
			for _, v := range values {
				words = append(words, flag, v)
			}
		}
		if code, stdout, stderr := said(t, words...); code != 2 || stdout != "" || !strings.HasPrefix(stderr, "kvmha: error: cannot write a resource: ") {
			t.Errorf("%s: exit %d\n%s%s", name, code, stdout, stderr)
		}
	}
}
