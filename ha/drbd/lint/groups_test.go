package lint_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
)

// What a group wants of DRBD has to be in drbd.conf, for this host, and the group's own.
func TestGroupsGoWithDRBD(t *testing.T) {
	here := load(t, "", good+"resource elsewhere { on beta { device /dev/drbd7; disk /dev/x; meta-disk internal; address 10.0.0.2:7790; } on gamma { device /dev/drbd7; disk /dev/x; meta-disk internal; address 10.0.0.3:7790; } }")
	const file = "/etc/kvmha.toml"
	for _, tt := range []struct {
		name      string
		resources string
		device    string
		want      []string // what and better
	}{
		{"good", "r0", "/dev/drbd0", nil},
		{"by resource", "r0", "/dev/drbd/by-res/r0/0", nil},
		{"two, and not clean", "r1 r0", "/dev//drbd0", nil},
		{"as device mapper has it", "r0", "/dev/mapper/vg-r0", []string{`group "files" mounts /dev/mapper/vg-r0 on /srv | the device of resource r0`}},
		{"a slip", "r0 r2", "/dev/drbd0", []string{`group "files" has resource r2, and drbd.conf has not | resource = "r0"`}},
		{"none", "r0 mail", "/dev/drbd0", []string{`group "files" has resource mail, and drbd.conf has not | kvmha drbd template mail`}},
		{"not here", "r0 elsewhere", "/dev/drbd0", []string{`group "files" has resource elsewhere, which does not name alpha (/r.conf:14:10) | on alpha`}},
		{"the disk below", "r0", "/dev/vg/r0", []string{`group "files" mounts /dev/vg/r0 on /srv | the device of resource r0`}},
		{"not replicated", "r0", "/dev/sdb1", []string{`group "files" mounts /dev/sdb1 on /srv | device = "/dev/drbd0"`}},
		{"which of two", "r0 r1", "/dev/drbd3", []string{`group "files" mounts /dev/drbd3 on /srv | `}},
		{"the other host's", "r0", "/dev/drbd7", []string{`group "files" mounts /dev/drbd7 on /srv | device = "/dev/drbd0"`}},
		{"another group's", "r0", "/dev/drbd1", []string{`group "files" mounts /dev/drbd1 on /srv | a [[group.files.drbd]] with resource = "r1"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := lint.Group{Name: "files", At: conf.Position{File: file}, Storage: true, Resources: strings.Fields(tt.resources), Mounts: []lint.GroupMount{{Device: tt.device, Dir: "/srv"}}}
			var got []string
			for _, f := range lint.Lint(lint.Input{Here: here, Host: "alpha", Facts: lint.Facts{DRBD: 8}, Groups: []lint.Group{g}}) {
				if f.Position.File != file {
					continue
				}
				if f.Severity != lint.Danger || f.Why == "" {
					t.Errorf("%v: %q", f, f.Why)
				}
				got = append(got, fmt.Sprintf("%s | %s", strings.TrimPrefix(f.String(), file+": danger: "), f.Better))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What no group has is told once; nothing is said of it where no group has storage.
func TestResourcesOfNoGroup(t *testing.T) {
	for _, tt := range []struct {
		name   string
		groups []lint.Group
		want   string
	}{
		{"all", []lint.Group{{Name: "a", Storage: true, Resources: []string{"r0"}}, {Name: "b", Storage: true, Resources: []string{"r1"}}}, ""},
		{"one", []lint.Group{{Name: "a", Storage: true, Resources: []string{"r0"}}, {Name: "dns"}}, "/r.conf:10:10: note: no group has r1"},
		{"no storage", []lint.Group{{Name: "dns"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range lint.Lint(lint.Input{Here: load(t, "", good), Host: "alpha", Facts: lint.Facts{DRBD: 8}, Groups: tt.groups}) {
				got = append(got, f.String())
			}
			if text := strings.Join(got, "\n"); text != tt.want {
				t.Errorf("%s, want %s", text, tt.want)
			}
		})
	}
}

// A directory of a group's is nobody else's at boot, by whatever name the device goes there.
func TestFstabMountsWhereAGroupDoes(t *testing.T) {
	groups := []lint.Group{{Name: "files", Storage: true, Resources: []string{"r0", "r1"}, Mounts: []lint.GroupMount{{Device: "/dev/drbd0", Dir: "/srv"}}}}
	for _, tt := range []struct{ line, want string }{
		{"UUID=0a3407de-014b-458b-b5c1-848e92a327a3 /srv ext4 defaults 0 2", "/etc/fstab:1:1: danger: mounts UUID=0a3407de-014b-458b-b5c1-848e92a327a3 on /srv at boot"},
		{"LABEL=srv /srv/ ext4 defaults 0 2", "/etc/fstab:1:1: danger: mounts LABEL=srv on /srv/ at boot"},
		{"LABEL=srv /srv ext4 noauto 0 2", ""},
		{"LABEL=home /home ext4 defaults 0 2", ""},
		{"/dev/mapper/vg-r0 /mnt ext4 noauto 0 2", "/etc/fstab:1:1: warning: mounts /dev/mapper/vg-r0 on /mnt"},
		{"/dev/mapper/v--g-r--0 /mnt ext4 noauto 0 2", ""},
	} {
		f := lint.Facts{DRBD: 8, Mounts: lint.ParseFstab("/etc/fstab", []byte(tt.line))}
		got := ""
		for _, one := range lint.Lint(lint.Input{Here: load(t, "", good), Host: "alpha", Facts: f, Groups: groups}) {
			got += one.String()
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.line, got, tt.want)
		}
	}
}
