package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvmctl/ha/hatest"
	"kvmctl/internal/testenv"
)

// The one that the notes of 2008 show for both controllers, and another one.
const (
	sidArda  = "S-1-5-21-3604470699-2325248622-2544762165"
	sidOther = "S-1-5-21-1-2-3"
)

// samba gives a node a Samba of its own, in which net(8) changes what an admin would: all of its kvmha finds its settings and secrets where a machine has
// them.
func (s *site) samba(node, name string) (net func(args ...string)) {
	s.t.Helper()
	dir := s.t.TempDir()
	text := "[global]\nworkgroup = ARDA\nnetbios name = " + name + "\nserver role = classic primary domain controller\nlog file = " + dir + "/log\n"
	for _, key := range []string{"private dir", "lock directory", "state directory", "cache directory", "pid directory", "ncalrpc dir"} {
		place := filepath.Join(dir, key)
		s.must(os.Mkdir(place, 0o755))
		text += key + " = " + place + "\n"
	}
	conf := filepath.Join(dir, "smb.conf")
	s.must(os.WriteFile(conf, []byte(text), 0o644))
	exe, err := os.Executable() // /proc/self/exe would be the shell
	s.must(err)
	s.within[node] = []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/samba/smb.conf && shift && exec ` + exe + ` "$@"`, conf}
	return func(args ...string) {
		s.t.Helper()
		if out, err := s.lab.Node(node).Command(s.ctx, append([]string{"net", "-s", conf}, args...)...).CombinedOutput(); err != nil {
			s.t.Fatalf("net %s: %v: %s", args, err, out)
		}
	}
}

// checked waits until the first check is in a state, for a reason that holds some words; the group has to be active all the time.
func (a *agent) checked(state, words string) {
	a.s.t.Helper()
	var last string
	if hatest.Until(a.s.ctx, func() bool {
		st, err := a.status()
		if err != nil {
			return false
		}
		g := st.Groups[0]
		last = fmt.Sprintf("%+v", g)
		if g.Role != "active" {
			a.s.t.Fatalf("the group has moved: %s", last)
		}
		return g.Checks[0].State == state && (words == "") == (g.Checks[0].Reason == "") && strings.Contains(g.Checks[0].Reason, words)
	}) != nil {
		a.s.t.Fatalf("never %s, %q: %s", state, words, last)
	}
}

// D12: two controllers compare their SIDs by net(8) here and, over the channel, there. A difference is told in words that an admin can act on, and moves
// nothing; nor does a peer that does not answer.
func TestTwoControllersGoByTheSameSIDs(t *testing.T) {
	s := start(t)
	testenv.Need(t, testenv.Netns, "net", "unshare")
	nets := map[string]func(...string){"a": s.samba("a", "PDC"), "b": s.samba("b", "BDC")}
	for _, net := range nets {
		net("setlocalsid", sidArda)
		net("setdomainsid", sidArda)
	}
	a, b := s.paired(func(n *hatest.Node) netip.Addr { return n.Addr },
		"[[group.web.check]]\ntype = \"sid\"\nname = \"sid\"\npeer = \"OTHER\"\ninterval = \"300ms\"\nfall = 1\nrise = 1\n")
	a.checked("green", "")
	b.exits(0, `"verdict": "pass"`, "probe", "--json")
	a.exits(0, `The check "sid" was asked just now: the SIDs are right, here and on b.`, "check")

	nets["a"]("setlocalsid", sidOther)
	const wrong = "the local SID here is " + sidOther + ", and not the domain's: net setlocalsid " + sidArda
	a.checked("red", wrong)
	a.exits(1, "Nothing is restarted or moved: the other node has the same trouble.", "probe")
	a.exits(0, `the check "sid" fails: `+wrong, "check")
	nets["a"]("setlocalsid", sidArda)
	nets["a"]("setdomainsid", sidOther)
	const domains = "the domain's SID is " + sidOther + " here and " + sidArda + " on b: net setdomainsid, on the wrong one"
	a.checked("red", domains)
	nets["a"]("setdomainsid", sidArda)
	a.checked("green", "")

	s.must(b.Kill())
	const silent = "b does not tell its SIDs: "
	a.checked("green", silent)
	a.exits(1, "unknown", "probe")
	a.exits(0, "could not be compared: "+silent, "check")
	s.must(a.Kill())
	a.start() // and nobody is there to compare with
	a.role("active")
	a.checked("unknown", silent)
	a.exits(0, "web: check sid is unknown: "+silent, "status")
	s.must(a.Kill())
	a.exits(0, `The check "sid" was not asked`, "check")
}
