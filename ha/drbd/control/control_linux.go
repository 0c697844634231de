package control

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"kvmctl/ha/drbd"
	"kvmctl/internal/runner"
)

// How long a command may take. Fencing is part of becoming Primary, and it is the handler that has the shorter deadline there.
const (
	askLimit     = 5 * time.Second
	actLimit     = 20 * time.Second
	primaryLimit = 90 * time.Second
	dieLimit     = 2 * time.Second // for a command that was killed; one that hangs in the kernel outlives it
	maxStuck     = 4               // of those that outlived it; with more nothing is begun
)

// Control acts on the resources of this node. Use it by pointer; it is safe for concurrent use.
type Control struct {
	runner runner.Runner

	mu    sync.Mutex
	stuck int
}

// New gives the Control that executes its commands by r.
func New(r runner.Runner) *Control { return &Control{runner: r} }

// States asks what there is, once. The amounts are those of the moment.
func (c *Control) States(ctx context.Context) (drbd.State, error) {
	out, err := c.run(ctx, "status", "", askLimit, "drbdsetup", "events2", "--now", "--statistics")
	if err != nil {
		return drbd.State{}, err
	}
	s, err := drbd.ParseEvents(out)
	if err != nil {
		return drbd.State{}, &Error{Act: "status", Said: err.Error(), cause: err}
	}
	return s, nil
}

// state is that of one resource; NotConfigured when there is none of the name.
func (c *Control) state(ctx context.Context, act, resource string) (drbd.Resource, error) {
	s, err := c.States(ctx)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Act, e.Resource = act, resource
		}
		return drbd.Resource{}, err
	}
	r, ok := s.Resource(resource)
	if !ok {
		return drbd.Resource{}, &Error{Act: act, Resource: resource, Reason: NotConfigured}
	}
	return r, nil
}

// end is how a command ended.
type end struct {
	result runner.Result
	err    error
}

// start begins a command; its end comes through the channel. Where as many hang already as may, that is its end.
func (c *Control) start(ctx context.Context, cmd runner.Command) <-chan end {
	ended := make(chan end, 1)
	if !c.begin() {
		ended <- end{err: errStuck}
		return ended
	}
	go func() {
		defer c.done() // counted for as long as it is there, whoever waits
		r, err := c.runner.Run(ctx, cmd)
		ended <- end{r, err}
	}()
	return ended
}

var (
	errStuck    = errors.New("others before hang still")
	errImmortal = errors.New("it cannot be killed")
)

// wait gives a command's end; when ctx has ended and the kernel does not let the command die, it gives up.
func wait(ctx context.Context, ended <-chan end) end {
	select {
	case e := <-ended:
		return e
	case <-ctx.Done():
	}
	last := time.NewTimer(dieLimit)
	defer last.Stop()
	select {
	case e := <-ended:
		return e
	case <-last.C:
		return end{err: fmt.Errorf("%w: %w", errImmortal, context.Cause(ctx))}
	}
}

// run executes a command within a limit, or what the caller has left, and gives its output. It returns even where the command cannot be killed, because it hangs in the kernel.
func (c *Control) run(ctx context.Context, act, resource string, limit time.Duration, argv ...string) ([]byte, error) {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	e := wait(within, c.start(within, runner.Command{Argv: argv}))
	if e.err != nil && within.Err() != nil && !errors.Is(ctx.Err(), context.Canceled) {
		said := fmt.Sprintf("given up after %v", limit)
		if ctx.Err() != nil {
			said = "given up when its caller had no more time"
		}
		return nil, &Error{Act: act, Resource: resource, Reason: Hangs, Said: said, cause: e.err}
	}
	return e.judge(act, resource)
}

// judge gives the output of a command that succeeded, and says why another did not.
func (e end) judge(act, resource string) ([]byte, error) {
	switch {
	case errors.Is(e.err, errStuck):
		return nil, &Error{Act: act, Resource: resource, Reason: Hangs, Said: errStuck.Error(), cause: e.err}
	case errors.Is(e.err, exec.ErrNotFound):
		return nil, &Error{Act: act, Resource: resource, Reason: NoPrograms, cause: e.err}
	case e.err != nil:
		return nil, &Error{Act: act, Resource: resource, Said: e.err.Error(), cause: e.err}
	case e.result.Exit != 0:
		failed := explain(act, resource, string(e.result.Stderr))
		if failed.Reason == Other {
			failed.explainRoom(string(e.result.Stdout))
		}
		if failed.Reason == Other && failed.Said == "" {
			failed.Said = fmt.Sprintf("exit %d without a word", e.result.Exit)
		}
		return nil, failed
	case e.result.Truncated:
		return nil, &Error{Act: act, Resource: resource, Said: drbd.ErrTooLong.Error(), cause: drbd.ErrTooLong}
	}
	return e.result.Stdout, nil
}

// begin counts a command, unless too many hang already.
func (c *Control) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stuck >= maxStuck {
		return false
	}
	c.stuck++
	return true
}

func (c *Control) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck--
}

// adm runs drbdadm on a resource. Its name comes from a configuration: one that drbdadm would take for an option or for all of them is refused.
func (c *Control) adm(ctx context.Context, limit time.Duration, act, resource string, options ...string) error {
	if err := named(act, resource); err != nil {
		return err
	}
	argv := append(append([]string{"drbdadm", act}, options...), resource)
	_, err := c.run(ctx, act, resource, limit, argv...)
	if !IsReason(err, BadConfig) {
		return err
	}
	// Without the module, drbdadm takes the file for one of DRBD 9, where other words are allowed. To ask for states loads the module, or says that it is missing.
	if _, err := c.state(ctx, act, resource); IsReason(err, NoModule) {
		return err
	}
	_, err = c.run(ctx, act, resource, limit, argv...)
	return err
}

// named refuses what is no name of one resource.
func named(act, resource string) error {
	if resource == "" || resource == "all" || strings.HasPrefix(resource, "-") {
		return &Error{Act: act, Resource: resource, Reason: Undefined}
	}
	return nil
}
