package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
	"kvmctl/internal/proc"
	"kvmctl/internal/testenv"
)

// A named that is killed is noticed by what the kernel pushes (a pidfd) and by what is asked (dns, tcp); kvmha probe says the same by hand.
func TestNamedThatIsKilledIsFailedByWhatIsPushedAndByWhatIsAsked(t *testing.T) {
	s := start(t)
	testenv.Need(t, testenv.Netns, "named")
	dir, err := os.MkdirTemp("", "named")
	s.must(err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	pidfile, conf := filepath.Join(dir, "pid"), filepath.Join(dir, "named.conf")
	s.must(os.WriteFile(filepath.Join(dir, "zone"), []byte("$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 10.2.0.10\n"), 0o644))
	s.must(os.WriteFile(conf, fmt.Appendf(nil, `options { directory "%[1]s"; pid-file "%[1]s/pid"; session-keyfile none; recursion no; dnssec-validation no;
	empty-zones-enable no; listen-on port 53 { 127.0.0.1; }; listen-on-v6 { none; }; };
controls { };
zone "example.org" { type primary; file "%[1]s/zone"; };
`, dir), 0o644))
	named, err := s.lab.Node("a").Start("named", "named", "-g", "-n", "1", "-c", conf)
	s.must(err)
	const policy = "interval = \"1s\"\ntimeout = \"10s\"\n" // what is dead refuses at once; what lives may be slow on a busy machine
	a := s.agent("a", group("web", s.vip, 0, "on_failure = \"stay\"\n"+
		"[[group.web.check]]\ntype = \"process\"\nname = \"pushed\"\npidfile = \""+pidfile+"\"\n"+policy+
		"[[group.web.check]]\ntype = \"dns\"\nname = \"dns\"\ntarget = \"127.0.0.1:53\"\nquery = \"ns.example.org\"\n"+policy+
		"[[group.web.check]]\ntype = \"tcp\"\nname = \"tcp\"\ntarget = \"127.0.0.1:53\"\n"+policy))
	// checks notes when each was first seen in a state, and reports whether all are.
	checks := func(state string, seen map[string]time.Time) bool {
		st, err := a.status()
		if err != nil || len(st.Groups[0].Checks) != 3 {
			return false
		}
		all, now := true, time.Now()
		for _, c := range st.Groups[0].Checks {
			if c.State != state {
				all = false
			} else if _, again := seen[c.Name]; !again {
				seen[c.Name] = now
			}
		}
		return all
	}
	if err := hatest.Until(s.ctx, func() bool { return checks("green", map[string]time.Time{}) }); err != nil {
		st, _ := a.status()
		t.Fatalf("never green: %+v\n%s", st.Groups, named.Output())
	}
	if out, err := a.ask("probe"); err != nil {
		t.Errorf("probe of a named that lives: %v\n%s", err, out)
	}
	pid, err := proc.ReadPIDFile(pidfile)
	s.must(err)
	red, killed := map[string]time.Time{}, time.Now()
	s.must(unix.Kill(pid, unix.SIGKILL))
	if err := hatest.Until(s.ctx, func() bool { return checks("red", red) }); err != nil {
		st, _ := a.status()
		t.Fatalf("never red: %+v", st.Groups)
	}
	for name, at := range red {
		t.Logf("%s is red %s after the kill", name, at.Sub(killed).Round(time.Millisecond))
	}
	if red["pushed"].After(red["dns"]) {
		t.Errorf("what is pushed was told after what is asked: %v", red)
	}
	out, _ := a.ask("probe", "--json") // its exit code is below
	var list []struct{ Check, Verdict string }
	s.must(json.Unmarshal([]byte(out), &list))
	if len(list) != 3 {
		t.Errorf("probe: %s", out)
	}
	for _, p := range list {
		if p.Verdict != "fail" {
			t.Errorf("probe: %+v", p)
		}
	}
	a.exits(1, "exit status 1", "probe", "web/dns")
}
