package vm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"kvmctl/internal/systemd"
	"kvmctl/vm"
	"kvmctl/vm/vmtest"
)

// A guest that cannot be put into its scope is not let go: nothing of it stays. The same host then starts it with a scope, and the
// guest stands still until the scope is made.
func TestAGuestRunsOnlyInItsScope(t *testing.T) {
	h := vmtest.Host(t)
	spec := vmtest.Spec(t, h, "vm-a")
	broken := errors.New("PID 1 is busy")
	var unit systemd.Unit
	h.Place = func(_ context.Context, u systemd.Unit) ([]string, error) { unit = u; return nil, broken }
	_, err := h.Start(t.Context(), spec)
	var scope *vm.ScopeError
	if !errors.Is(err, broken) || !errors.As(err, &scope) || !strings.Contains(scope.Hint(), "kvmctl start --no-scope vm-a") {
		t.Fatalf("start without a scope: %v", err)
	}
	if p := vmtest.Owner(t, h, "vm-a"); p != nil {
		t.Fatalf("QEMU runs without its scope (pid %d)", p.PID)
	}
	if st := h.Status(t.Context(), []string{"vm-a"})[0]; st.State != vm.StateStopped || !strings.Contains(st.Note, "PID 1 is busy") {
		t.Errorf("status after it: %s, %q", st.State, st.Note)
	}
	if unit.Name != "kvm-vm-a.scope" {
		t.Errorf("asked for %q", unit.Name)
	}

	ready := make(chan struct{})
	stands := make(chan vm.StateWord, 1)
	h.Step = func(name string) {
		if name == "settings" { // all is done but the scope
			stands <- h.Status(t.Context(), []string{"vm-a"})[0].State
			close(ready)
		}
	}
	h.Place = func(ctx context.Context, u systemd.Unit) ([]string, error) {
		select {
		case <-ready:
		case <-ctx.Done():
		}
		return []string{"placed"}, ctx.Err()
	}
	st := vmtest.Start(t, h, spec)
	if got := <-stands; got != vm.StateStarting {
		t.Errorf("before its scope was made it was %s", got)
	}
	if !slices.Contains(st.Notes, "placed") {
		t.Errorf("notes: %q", st.Notes)
	}
}
