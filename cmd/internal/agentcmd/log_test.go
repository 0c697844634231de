package agentcmd

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Nothing is not printed for nothing: stderr says why.
func TestALogWithoutALine(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": webFile})
	path := filepath.Join(root, "var/lib/kvmha/audit.jsonl")
	for _, tt := range []struct {
		args           []string
		stdout, stderr string
	}{
		{nil, "", "kvmha: no change of role was recorded in " + path + ": no agent has run here yet\n"},
		{[]string{"--json"}, "[]\n", "kvmha: no change of role was recorded in " + path + ": no agent has run here yet\n"},
		{[]string{"web", "-n", "1"}, "", "kvmha: no change of role of a group web was recorded in " + path + "\n"},
	} {
		code, stdout, stderr := said(t, append([]string{"--root", root, "log"}, tt.args...)...)
		if d := cmp.Diff([]any{0, tt.stdout, tt.stderr}, []any{code, stdout, stderr}); d != "" {
			t.Errorf("%v (-want +got)\n%s", tt.args, d)
		}
	}
}
