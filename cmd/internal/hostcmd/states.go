package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"kvmctl/configs"
	"kvmctl/vm"
)

// oneState is what save and restore begin with: the guest that is named first, and the file that may be named second, absolute.
func (a *app) oneState(ctx context.Context, act string, args []string) (g *configs.Guest, h *vm.Host, file string, err error) {
	if err := a.needRoot(act + " a guest"); err != nil {
		return nil, nil, "", err
	}
	if len(args) > 1 {
		if file, err = filepath.Abs(args[1]); err != nil {
			return nil, nil, "", fmt.Errorf("cannot %s %s: %w", act, args[0], err)
		}
	}
	s, err := a.site(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	g, err = a.guest(s, args[0], act)
	return g, a.host(s, act), file, err
}

// completeState completes a guest's name, then a file.
func (a *app) completeState(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.completeGuest(cmd, args, toComplete)
}

// eachRunning does something to each of the named guests; one that fails does not keep it from the others. act is for errors: "pause".
func (a *app) eachRunning(ctx context.Context, names []string, act string, do func(h *vm.Host, name string) error) error {
	if err := a.needRoot(act + " a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	h := a.host(s, act)
	var errs []error
	for _, name := range dedupe(names) {
		if err := a.known(s, name, act); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := do(h, name); err != nil {
			errs = append(errs, a.notDone(ctx, h, name, act, err))
		}
	}
	return errors.Join(errs...)
}

// notDone words a failed act on a guest; of one that does not run it says why it does not.
func (a *app) notDone(ctx context.Context, h *vm.Host, name, act string, err error) error {
	if errors.Is(err, vm.ErrNotRunning) {
		if st := h.Status(ctx, []string{name})[0]; st.PID == 0 {
			return notRunning(act, st)
		}
	}
	return unreachable(act, name, err)
}
