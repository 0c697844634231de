package check

import (
	"context"
	"errors"
	"path/filepath"

	"kvmctl/internal/child"
)

// Exec runs a program, which says by exit 0 that all is well; its last line is the reason when it does not. At the timeout it is killed with
// its process group; what has left that (setsid(2)) is out of reach: a subreaper (prctl(2)) would be one for the daemons of the units, too.
type Exec struct {
	Command []string // argv, no shell; the first is an absolute path
	Env     []string // KEY=value beside PATH, LC_ALL and HOME
}

// Kind implements Spec.
func (Exec) Kind() string { return "exec" }

var (
	errNoCommand = errors.New("command is empty")
	errPath      = errors.New("command's program is not an absolute path")
)

// Validate implements Spec.
func (s Exec) Validate() error {
	switch {
	case len(s.Command) == 0:
		return errNoCommand
	case !filepath.IsAbs(s.Command[0]):
		return errPath
	}
	return nil
}

// Probe implements Spec.
func (s Exec) Probe(Env) (Probe, error) { return execProbe{s}, nil }

type execProbe struct{ spec Exec }

func (execProbe) Close() {}

func (p execProbe) Ask(ctx context.Context) error {
	r, err := child.Run(ctx, child.Command{Argv: p.spec.Command, Env: p.spec.Env})
	if err != nil {
		return err
	}
	return r.Err()
}
