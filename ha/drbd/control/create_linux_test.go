package control

import (
	"regexp"
	"strings"
	"testing"

	"kvmctl/internal/runner/runnertest"
)

const (
	fresh = "0000000000000004:0000000000000000:0000000000000000:0000000000000000:0:0:0:0:0:0:0\n"
	old   = "DEADBEEF00000001:0000000000000000:0000000000000000:0000000000000000:1:1:0:0:0:0:0\n"
)

// What drbdadm 9.22 answers about DRBD 8.4, as it was seen.
func TestGeneration(t *testing.T) {
	get := func(out string, exit int) runnertest.Reply {
		return runnertest.Reply{Argv: []string{"drbdadm", "get-gi", "r0/1"}, Stdout: out, Exit: exit}
	}
	dump := func(stderr string, exit int) runnertest.Reply {
		return runnertest.Reply{Argv: []string{"drbdadm", "dump-md", "r0/1"}, Stderr: stderr, Exit: exit}
	}
	for _, c := range []struct {
		name        string
		replies     []runnertest.Reply
		there, used bool
		err         string
	}{
		{"just created", []runnertest.Reply{get(fresh, 0)}, true, false, ""},
		{"good once", []runnertest.Reply{get(old, 0)}, true, true, ""},
		{"none", []runnertest.Reply{get("", 1), dump("No valid meta data found\n", 255)}, false, false, ""},
		{"of a node that was cut off", []runnertest.Reply{get("", 1), dump("Found meta data is \"unclean\", please apply-al first\n", 255)}, true, true, ""},
		{"busy", []runnertest.Reply{get("", 20), dump("open(/dev/vda) failed: Device or resource busy\n", 20)}, false, false, "the disk cannot be used"},
		{"no words of its own", []runnertest.Reply{get("hello\n", 0)}, false, false, "told no generation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			there, used, err := New(runnertest.New(t, c.replies...)).Generation(t.Context(), "r0", 1)
			if there != c.there || used != c.used || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("there %v, used %v, %v", there, used, err)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	r := runnertest.New(t, runnertest.Reply{Argv: []string{"drbdadm", "get-gi", "r0/1"}, Stdout: fresh},
		runnertest.Reply{Argv: []string{"drbdadm", "--", "--force", "*:0:0:0:1:1", "set-gi", "r0/1"}})
	seen := map[string]bool{}
	for range 20 {
		if err := New(r).Claim(t.Context(), "r0", 1); err != nil {
			t.Fatal(err)
		}
		ran := r.Ran()
		generation := ran[len(ran)-1][3]
		if !regexp.MustCompile(`^[89A-F][0-9A-F]{14}[02468ACE]:`).MatchString(generation) || seen[generation] {
			t.Errorf("generation %s", generation)
		}
		seen[generation] = true
	}
	r = runnertest.New(t, runnertest.Reply{Argv: []string{"drbdadm", "get-gi", "r0/1"}, Stdout: old})
	if err := New(r).Claim(t.Context(), "r0", 1); err == nil {
		t.Error("data that have a generation get another one")
	}
	for _, name := range []string{"", "all", "--help"} {
		if err := New(runnertest.New(t)).Claim(t.Context(), name, 0); !IsReason(err, Undefined) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzEverGood(f *testing.F) {
	f.Add([]byte(fresh))
	f.Add([]byte("\n" + old))
	f.Fuzz(func(t *testing.T, out []byte) {
		if used, err := everGood(out); err != nil && used {
			t.Error("an error, and a generation")
		}
	})
}
