package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

// known makes sure that there is such a guest: configured, running although its file is gone, or at least remembered.
func (a *app) known(s *configs.Site, name, act string) error {
	_, err := s.Guest(name)
	if err == nil {
		return nil
	}
	running, lerr := a.layout().Known()
	if lerr != nil {
		return fmt.Errorf("cannot %s %s: %w", act, name, lerr)
	}
	if slices.Contains(running, name) {
		return nil
	}
	if configs.CheckName(name) == nil {
		if _, serr := os.Stat(a.layout().History(name)); serr == nil {
			return nil
		}
	}
	return usable(act, name, err)
}

// seen is a guest that a command wants to talk to.
type seen struct {
	host *vm.Host
	vm.Status
}

// meet loads the configuration and finds the guest running; op is the command's name, act is for the error: "open the console of".
func (a *app) meet(ctx context.Context, name, op, act string) (*seen, error) {
	if err := a.needRoot(act + " a guest"); err != nil {
		return nil, err
	}
	s, err := a.site(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.known(s, name, act); err != nil {
		return nil, err
	}
	h := a.host(s, op)
	st := h.Status(ctx, []string{name})[0]
	if st.PID == 0 {
		return nil, notRunning(act, st)
	}
	return &seen{h, st}, nil
}

func notRunning(act string, st vm.Status) error {
	hint := "kvmctl start " + st.Name
	if st.State == vm.StateStarting {
		hint = "kvmctl wait " + st.Name
	}
	if st.Note == "" {
		return cli.Failed(hint, "cannot %s %s: it is %s", act, st.Name, st.State)
	}
	return cli.Failed(hint, "cannot %s %s: it is %s (%s)", act, st.Name, st.State, st.Note)
}

// unreachable words what kept us from talking to a guest that runs.
func unreachable(act, name string, err error) error {
	hint := cli.Hint(err)
	switch {
	case errors.Is(err, vm.ErrNotRunning):
		hint = "kvmctl start " + name
	case errors.Is(err, vm.ErrNoMonitor):
		hint = "kvmctl status " + name
	}
	if cli.Code(err) == cli.ExitRefused {
		return cli.Refused(hint, "cannot %s %s: %w", act, name, err)
	}
	return cli.Failed(hint, "cannot %s %s: %w", act, name, err)
}

// sayEnd tells how a guest ended to whom was attached to it.
func (a *app) sayEnd(name string, end *vm.EndedError) {
	if end.Reason == "" {
		a.env.Talk("%s is %s", name, end.State)
		return
	}
	a.env.Talk("%s is %s: %s", name, end.State, end.Reason)
}
