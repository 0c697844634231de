package lint_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
	"kvmctl/internal/testenv"
)

// resources to write, by the name of their golden file.
func resources() map[string]lint.Resource {
	four := lint.Resource{Name: "r0", Minor: 3, MetaDisk: "internal", Secret: "0123456789abcdef", Nodes: [2]lint.Node{
		{"varda2", netip.MustParseAddrPort("10.4.0.102:7789"), "/dev/mapper/vserver-Vadmin"},
		{"vm-varda", netip.MustParseAddrPort("10.4.0.202:7789"), "/dev/vdb5"},
	}}
	six := four
	six.Nine, six.MetaDisk = true, "/dev/vg/meta"
	six.Nodes[0].Address, six.Nodes[1].Address = netip.MustParseAddrPort("[fd00::1]:7000"), netip.MustParseAddrPort("[fd00::2]:7000")
	return map[string]lint.Resource{"template-84": four, "template-9": six}
}

func TestTemplateHasNothingToFind(t *testing.T) {
	for name, r := range resources() {
		text, err := lint.Template(r)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name+".res")
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		facts := lint.Facts{DRBD: 8}
		if r.Nine {
			facts.DRBD = 9
		}
		c := load(t, "", text)
		for _, f := range lint.Lint(lint.Input{Here: c, Peer: c, Host: "varda2", PeerHost: "vm-varda", Facts: facts}) {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestTemplateRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*lint.Resource){
		"the resource's name": func(r *lint.Resource) { r.Name = "a { }" },
		"the device":          func(r *lint.Resource) { r.Minor = 1 << 20 },
		"the meta-disk":       func(r *lint.Resource) { r.MetaDisk = "/dev/a b" },
		"the secret":          func(r *lint.Resource) { r.Secret = `"` },
		"the nodes":           func(r *lint.Resource) { r.Nodes[1].Name = r.Nodes[0].Name },
		"a node's name":       func(r *lint.Resource) { r.Nodes[1].Name = "" },
		"a node's address":    func(r *lint.Resource) { r.Nodes[1].Address = netip.MustParseAddrPort("0.0.0.0:1") },
		"a disk":              func(r *lint.Resource) { r.Nodes[0].Disk = "sda1" },
	} {
		r := resources()["template-84"]
		spoil(&r)
		text, err := lint.Template(r)
		if e, ok := errors.AsType[*lint.ArgumentError](err); !ok || e.What != name || text != "" {
			t.Errorf("%s: %v, %q", name, err, text)
		}
	}
}

// Debian's drbdadm, of 8.4 and of 9, reads in the template what we do. That of 9.22 takes no fencing in disk, so each has its own.
func TestDrbdadmTakesTheTemplates(t *testing.T) {
	testenv.Need(t, testenv.Netns, "drbdadm", "/lib/drbd/drbdadm-84")
	for name, program := range map[string]string{"template-84": "/lib/drbd/drbdadm-84", "template-9": "drbdadm"} {
		path, err := filepath.Abs(filepath.Join("testdata", name+".res"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		dump, err := exec.CommandContext(ctx, program, "-c", path, "dump").Output()
		cancel()
		if err != nil {
			t.Errorf("%s %s: %v", program, name, err)
			continue
		}
		for _, d := range conf.Diff(load(t, "", string(text)), load(t, "", string(dump))) {
			t.Errorf("%s %s: %s: %s: %q, drbdadm has %q", program, name, d.About, d.What, d.Here, d.There)
		}
	}
}
