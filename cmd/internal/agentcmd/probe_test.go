package agentcmd

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const probeFile = webFile + `[[group.web.check]]
type = "exec"
name = "well"
run = ["/bin/true"]
timeout = "1m"
[[group.web.check]]
type = "exec"
name = "ill"
run = ["/bin/sh", "-c", "echo no such zone; exit 1"]
timeout = "1m"
[group.dns]
interface = "nosuch0"
vhid = 2
addresses = ["10.2.0.11"]
password = "hunter2"
[[group.dns.check]]
type = "exec"
name = "well"
run = ["/bin/true"]
timeout = "1m"
`

// took is how long an answer took, which no test can expect, with the blanks after it, which depend on the longest.
var took = regexp.MustCompile(` +[0-9]+\.[0-9]ms *`)

func TestProbeAsksOnceAndSaysWhatWouldFollow(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": probeFile})
	const illFollows = `
web/ill: what would follow
  - It counts when it fails 3× in a row (every 1 s): 2 s to 4 min after the failure.
  - Where the group is active: apache2 is restarted, up to 1× in 10 min; then the group is handed over, and this node stays away for 1 s at least.
  - Where it stands by: nothing, the check is not asked there.
  - Nobody is told but the audit log: the file has no [mail], [webhook] or [command].
`
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"all", nil, 1, "CHECK     TYPE  VERDICT  TOOK\nweb/well  exec  pass TOOK\nweb/ill   exec  fail TOOK exit 1: no such zone\ndns/well  exec  pass TOOK\n" + illFollows, ""},
		{"by its own name, in all groups", []string{"well"}, 0, "CHECK     TYPE  VERDICT  TOOK\nweb/well  exec  pass TOOK\ndns/well  exec  pass TOOK\n", ""},
		{"by group and name", []string{"dns/well", "dns/well"}, 0, "CHECK     TYPE  VERDICT  TOOK\ndns/well  exec  pass TOOK\n", ""},
		{"by group", []string{"dns"}, 0, "CHECK     TYPE  VERDICT  TOOK\ndns/well  exec  pass TOOK\n", ""},
		{"nothing like it", []string{"smb"}, 2, "", "kvmha: error: cannot ask \"smb\": the file has no such check\nkvmha: hint: kvmha --root ROOT probe, which asks all\n"},
		{"by type and by group, each once", []string{"exec", "dns"}, 1, "CHECK     TYPE  VERDICT  TOOK\nweb/well  exec  pass TOOK\nweb/ill   exec  fail TOOK exit 1: no such zone\ndns/well  exec  pass TOOK\n" + illFollows, ""},
		{"no such check", []string{"dns/wel"}, 2, "", "kvmha: error: cannot ask \"dns/wel\": the file has no such check\nkvmha: hint: kvmha --root ROOT probe dns/well\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := said(t, append([]string{"--root", root, "probe"}, c.args...)...)
			stdout = strings.ReplaceAll(took.ReplaceAllString(stdout, " TOOK "), " \n", "\n")
			stdout = regexp.MustCompile(`TOOK +REASON`).ReplaceAllString(stdout, "TOOK")
			if d := cmp.Diff([]any{c.code, c.stdout, c.stderr}, []any{code, stdout, strings.ReplaceAll(stderr, root, "ROOT")}); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestProbePrintsJSON(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": probeFile})
	code, stdout, stderr := said(t, "--root", root, "probe", "--json", "web/ill", "web/well")
	var list []probed
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != 1 || stderr != "" {
		t.Fatalf("exit %d, stderr %q: %v", code, stderr, err)
	}
	for i := range list {
		if list[i].Took > 60 || len(list[i].Follows) != 4*i {
			t.Errorf("%+v", list[i])
		}
		list[i].Took, list[i].Follows = 0, nil
	}
	want := []probed{{Group: "web", Check: "well", Type: "exec", Verdict: "pass"},
		{Group: "web", Check: "ill", Type: "exec", Verdict: "fail", Reason: "exit 1: no such zone"}}
	if d := cmp.Diff(want, list); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestProbeOfAFileWithoutChecks(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": webFile})
	code, stdout, stderr := said(t, "--root", root, "probe")
	want := "kvmha: error: cannot ask: the file has no check\nkvmha: hint: add a [[group.<name>.check]] to " + root + "/etc/kvmha.toml\n"
	if code != 2 || stdout != "" || stderr != want {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestChecksAreCompletedFromTheFile(t *testing.T) {
	root := etc(t, map[string]string{"kvmha.toml": probeFile})
	_, stdout, _ := said(t, "--root", root, "__complete", "probe", "web/ill", "web/")
	if stdout != "web/well\texec\n:4\n" {
		t.Errorf("%q", stdout)
	}
}
