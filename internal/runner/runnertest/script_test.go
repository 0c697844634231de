package runnertest

import (
	"testing"

	"kvmctl/internal/runner"
)

// recorder is a testing.TB whose failures are the result.
type recorder struct {
	testing.TB
	failed  []string
	cleanup []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Errorf(f string, a ...any) {
	r.failed = append(r.failed, f)
}

func TestTheScriptAnswersOnlyWhatItKnows(t *testing.T) {
	tests := []struct {
		name string
		argv []string
		ok   bool
	}{
		{"the same", []string{"tool", "in", "/d/.x-1.part"}, true},
		{"a wildcard that stands for nothing", []string{"tool", "in", "/d/.part"}, true},
		{"another word", []string{"tool", "out", "/d/.part"}, false},
		{"another beginning", []string{"tool", "in", "/e/.part"}, false},
		{"beginning and end that overlap", []string{"tool", "in", "/d/part"}, false},
		{"one word fewer", []string{"tool", "in"}, false},
		{"one word more", []string{"tool", "in", "/d/.part", "x"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tb := &recorder{}
			s := New(tb, Reply{Argv: []string{"tool", "in", "/d/*.part"}, Stdout: "yes", Exit: 3})
			r, err := s.Run(t.Context(), runner.Command{Argv: tt.argv})
			if ok := err == nil && string(r.Stdout) == "yes" && r.Exit == 3; ok != tt.ok || (len(tb.failed) == 0) != tt.ok {
				t.Errorf("result %+v, error %v, test failures %q", r, err, tb.failed)
			}
		})
	}
}

func TestAReplyThatNeverServesFailsTheTest(t *testing.T) {
	tb := &recorder{}
	New(tb, Reply{Argv: []string{"tool"}})
	for _, f := range tb.cleanup {
		f()
	}
	if len(tb.failed) != 1 {
		t.Errorf("failures %q, want one", tb.failed)
	}
}
