package agentcmd

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The pair of name servers of the IUT: the files load, suit each other, and mean what testdata/iut says.
func TestTheFilesOfTheIUT(t *testing.T) {
	found := regexp.MustCompile(`(?s)  found here:\n.*?(  promised:\n)`) // depends on the machine
	for _, node := range []string{"olorin2", "vm-olorin"} {
		t.Run(node, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join("../../../configs/iut", node, "kvmha.toml"))
			if err != nil {
				t.Fatal(err)
			}
			root := etc(t, map[string]string{"kvmha.toml": string(file), "kvmha/services.password": "toto\n"})
			code, stdout, stderr := said(t, "--root", root, "check")
			if code != 0 || stderr != "" {
				t.Fatalf("exit %d, stderr %q", code, stderr)
			}
			got := found.ReplaceAllString(stdout, "$1")
			golden := filepath.Join("testdata/iut", node+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}
