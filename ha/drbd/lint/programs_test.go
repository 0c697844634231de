package lint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/lint"
)

// A handler that does not run answers nothing: DRBD stays frozen, or never resyncs.
func TestHandlersThatCannotRun(t *testing.T) {
	const kvmha = "/usr/local/bin/kvmha"
	bare := strings.Replace(good, `"/usr/local/bin/kvmha fence-peer"`, `"kvmha fence-peer"`, 1)
	script := strings.Replace(good, "handlers {", `handlers { pri-lost "/usr/lib/drbd/notify.sh root"; local-io-error "echo o > /proc/sysrq-trigger"; out-of-sync "FOO=1 x";`, 1)
	all := func(p lint.Program) map[string]lint.Program { return map[string]lint.Program{kvmha: p} }
	const all4 = "fence-peer, after-resync-target, before-resync-target, split-brain: " + kvmha
	for _, tt := range []struct {
		name     string
		text     string
		programs map[string]lint.Program
		self     string
		want     []string
	}{
		{"nobody looked", good, nil, "", nil},
		{"this program", good, all(lint.ProgramSelf), kvmha, nil},
		{"another one", good, all(lint.ProgramHere), "/usr/bin/kvmha", []string{"/r.conf:4:13: note: " + all4 + " is another program than this, /usr/bin/kvmha | /usr/bin/kvmha"}},
		{"another machine's", good, all(lint.ProgramHere), "", nil},
		{"not there", good, all(lint.ProgramMissing), "", []string{"/r.conf:4:13: warning: " + all4 + " is not there | its right path"}},
		{"not executable", good, all(lint.ProgramNoExec), kvmha, []string{"/r.conf:4:13: warning: " + all4 + " cannot be run | chmod 755 " + kvmha}},
		{"not in the kernel's PATH", bare, map[string]lint.Program{"kvmha": lint.ProgramMissing, kvmha: lint.ProgramSelf}, kvmha, []string{
			"/r.conf:4:13: warning: fence-peer: kvmha is in none of /sbin, /usr/sbin, /bin, /usr/bin | " + kvmha}},
		{"a script", script, map[string]lint.Program{kvmha: lint.ProgramSelf, "/usr/lib/drbd/notify.sh": lint.ProgramMissing, "echo": lint.ProgramHere}, kvmha, []string{
			"/r.conf:4:13: warning: pri-lost: /usr/lib/drbd/notify.sh is not there | its right path"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, f := range lint.Lint(lint.Input{Here: load(t, "", tt.text), Facts: lint.Facts{DRBD: 8, Programs: tt.programs, Self: tt.self}}) {
				got = append(got, f.String()+" | "+f.Better)
				if f.Why == "" || f.Better == "" {
					t.Errorf("%v: why %q, better %q", f, f.Why, f.Better)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if diff := cmp.Diff([]string{"/usr/lib/drbd/notify.sh", "echo", kvmha}, lint.Commands(load(t, "", script))); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

func TestGatherPrograms(t *testing.T) {
	root := tree(t, map[string]string{"usr/bin/runs": "", "usr/local/bin/runs2": "", "opt/text": "", "opt/dir/x": "", "usr/sbin/kvmha": "", "opt/link": "-> " + "text"})
	for _, name := range []string{"usr/bin/runs", "usr/local/bin/runs2", "usr/sbin/kvmha"} {
		if err := os.Chmod(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]lint.Program{"runs": lint.ProgramHere, "runs2": lint.ProgramMissing, "/usr/local/bin/runs2": lint.ProgramHere, "/opt/text": lint.ProgramNoExec, "/opt/dir": lint.ProgramNoExec,
		"/opt/link": lint.ProgramNoExec, "kvmha": lint.ProgramSelf, "/usr/sbin/kvmha": lint.ProgramSelf, "/no/kvmha": lint.ProgramMissing}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	if diff := cmp.Diff(want, lint.GatherPrograms(root, filepath.Join(root, "usr/sbin/kvmha"), names)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheKernelsHelper(t *testing.T) {
	for value, want := range map[string]int{"": 0, "/sbin/drbdadm": 0, "/usr/sbin/drbdadm": 0, "disabled": 1, "/bin/true": 1} {
		in := lint.Input{Here: load(t, "", good), Facts: lint.Facts{DRBD: 8, Helper: lint.Setting{Value: value, At: conf.Position{File: "/sys"}}}}
		if got := lint.Lint(in); len(got) != want || want > 0 && got[0].What != "the kernel's helper is "+value {
			t.Errorf("%q: %v", value, got)
		}
	}
}
