//go:build linux

package agentcmd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/drbd"
	"kvmctl/ha/drbd/overview"
)

// TestWhatDRBDStatusPrints draws what two guests with DRBD 8.4.11 said.
func TestWhatDRBDStatusPrints(t *testing.T) {
	var out bytes.Buffer
	a := &app{env: &cli.Env{Prog: "kvmha", Out: &out, Err: &out}}
	for _, scene := range []string{"connected", "down", "resync", "resync-paused", "verify", "link-cut", "resync-link-cut", "suspended", "split-brain", "wrong-secret", "diskless", "many"} {
		recorded, err := txtar.ParseFile("../../../ha/drbd/testdata/8.4/" + scene + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range []string{"varda2", "vm-varda"} {
			said := map[string][]byte{}
			for _, f := range recorded.Files {
				if form, ok := strings.CutPrefix(f.Name, node+"/"); ok {
					said[form] = f.Data
				}
			}
			f := overview.Facts{Configured: []string{"r0"}}
			if f.State, err = drbd.ParseEvents(said["events2-now"]); err != nil {
				t.Fatal(scene, err)
			}
			if f.Proc, err = drbd.ParseProc(said["proc"]); err != nil {
				t.Fatal(scene, err)
			}
			f.Causes = drbd.ReadLog(said["log"], f.State.Place)
			fmt.Fprintf(&out, "-- %s %s --\n", scene, node)
			if err := a.printViews(overview.Views(f)); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden := "testdata/drbdstatus.txt"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), out.String()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestDRBDCommandsWithoutDRBD: what is missing is named, with what to type.
func TestDRBDCommandsWithoutDRBD(t *testing.T) {
	root := etc(t, map[string]string{"drbd.conf": drbdGood + drbdPair, "hostname": "a"})
	none := etc(t, map[string]string{"hostname": "a"})
	script := func(text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "drbdsetup"), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	nothing := script("echo 'exists -'")
	noModule := script("echo 'Failed to modprobe drbd (No such file or directory)' >&2; exit 20")
	for _, c := range []struct {
		name, path, root string
		args             []string
		code             int
		out, err         string // parts
	}{
		{"no programs", "", root, []string{"status"}, 1, "", "error: cannot show the resources: drbd status: drbd-utils are missing\nkvmha: hint: apt install drbd-utils\n"},
		{"no module", noModule, root, []string{"status"}, 1, "", "the kernel module drbd is missing\nkvmha: hint: modprobe drbd\n"},
		{"verify, no module", noModule, root, []string{"verify"}, 1, "", "error: cannot verify the resources: "},
		{"down", nothing, root, []string{"status"}, 1, "r0: to mend it: drbdadm up r0\n", ""},
		{"verify what is down", nothing, root, []string{"verify"}, 3, "", "error: cannot verify r0: drbd.conf has it, and it is not up\nkvmha: hint: kvmha --root ROOT drbd status r0\n"},
		{"verify, as JSON", nothing, root, []string{"verify", "r0", "--json"}, 3, "[]\n", "error: cannot verify r0: "},
		{"a slip", nothing, root, []string{"status", "ro"}, 2, "", "hint: kvmha --root ROOT drbd status r0\n"},
		{"no resource", nothing, none, []string{"status"}, 0, "", "there is no resource: drbd.conf has none for a"},
		{"no resource, as JSON", nothing, none, []string{"status", "--json"}, 0, "[]\n", ""},
		{"no resource to verify", nothing, none, []string{"verify"}, 2, "", "error: cannot verify: drbd.conf has no resource for a\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", c.path)
			code, stdout, stderr := said(t, append([]string{"--root", c.root, "drbd"}, c.args...)...)
			stderr = strings.ReplaceAll(stderr, c.root, "ROOT")
			if code != c.code || !strings.Contains(stdout, c.out) || (c.out == "") != (stdout == "") || !strings.Contains(stderr, c.err) || (c.err == "") != (stderr == "") {
				t.Errorf("exit %d\n%s\n%s", code, stdout, stderr)
			}
		})
	}
}
