package confsync

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

var errLost = errors.New("this node is active now")

// The roles change in each step of a pass: nothing is replaced before the journal is written, and all of it behind that.
func TestRolesThatChangeEndAPass(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"pull", "carry", "validate", "stage", "exchange", "reload"} {
		t.Run(step, func(t *testing.T) {
			dir, e, job := site(t)
			var lost atomic.Bool
			e.Step = func(s string) {
				if s == step {
					lost.Store(true)
				}
			}
			e.Still = func(context.Context, Job) error {
				if lost.Load() {
					return errLost
				}
				return nil
			}
			_, err := e.Run(t.Context(), job, false)
			var ended *EndedError
			want, text := before, "" // of reloaded
			switch step {
			case "exchange", "reload":
				if want, text = after, "new zone\nnew conf\n"; err != nil {
					t.Error(err)
				}
			default:
				if !errors.As(err, &ended) || !errors.Is(err, errLost) {
					t.Errorf("says %v", err)
				}
			}
			is(t, "in place", tree(t, filepath.Join(dir, "here")), want)
			if got, _ := os.ReadFile(filepath.Join(dir, "reloaded")); string(got) != text {
				t.Errorf("reloaded: %q", got)
			}
			if inode(filepath.Join(dir, "here/.zones.kvmha/new")) != 0 || inode(e.journalPath(job.Name)) != 0 {
				t.Error("something is left")
			}
		})
	}
}

// Neither a source nor a validator that hangs is waited for when the roles change.
func TestRolesThatChangeEndWhatHangs(t *testing.T) {
	for name, hang := range map[string]func(e *Engine, job *Job){
		"source": func(e *Engine, _ *Job) {
			e.Source = func(Job, int) (string, string) { return "/bin/sh -c 'sleep 1000'", "there:zones/" }
		},
		"validator": func(_ *Engine, job *Job) { job.Validate = []string{"/bin/sh", "-c", "sleep 1000"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, e, job := site(t)
			hang(e, &job)
			var asked atomic.Int32
			e.Still = func(context.Context, Job) error {
				if asked.Add(1) > 1 {
					return errLost
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second) // less than rsync waits
			defer cancel()
			if _, err := e.Run(ctx, job, false); !errors.Is(err, errLost) {
				t.Errorf("says %v", err)
			}
			is(t, "in place", tree(t, filepath.Join(dir, "here")), before)
		})
	}
}
