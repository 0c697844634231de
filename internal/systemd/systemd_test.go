package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/systemd"
	"kvmctl/internal/systemd/systemdtest"
)

func dial(t *testing.T, p *systemdtest.PID1) (*systemd.Manager, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	m, err := systemd.Dial(ctx, p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m, ctx
}

func TestStartTransientGivesTheProperties(t *testing.T) {
	p := systemdtest.New(t)
	m, ctx := dial(t, p)
	u := systemd.Unit{Name: "kvm-a.scope", Properties: []systemd.Property{
		systemd.Prop("Slice", "kvm.slice"), systemd.Prop("SendSIGKILL", false), systemd.Prop("PIDs", []uint32{7})}}
	if err := m.StartTransient(ctx, u); err != nil {
		t.Fatal(err)
	}
	want := map[string]systemdtest.Unit{"kvm-a.scope": {Name: "kvm-a.scope", Mode: "fail",
		Properties: map[string]any{"Slice": "kvm.slice", "SendSIGKILL": false, "PIDs": []uint32{7}}}}
	if d := cmp.Diff(want, p.Units()); d != "" {
		t.Errorf("units (-want +got):\n%s", d)
	}
}

func TestStartTransientWaitsForANameThatIsEnding(t *testing.T) {
	p := systemdtest.New(t)
	m, ctx := dial(t, p)
	u := systemd.Unit{Name: "kvm-a.scope"}
	if err := m.StartTransient(ctx, u); err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() { second <- m.StartTransient(ctx, u) }()
	for p.Asked() < 3 { // it was refused and asked again
		if ctx.Err() != nil {
			t.Fatal("nobody asks again")
		}
		time.Sleep(time.Millisecond)
	}
	p.End(u.Name)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestStartTransientOfANameThatStays(t *testing.T) {
	p := systemdtest.New(t)
	m, ctx := dial(t, p)
	u := systemd.Unit{Name: "kvm-a.scope"}
	if err := m.StartTransient(ctx, u); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := m.StartTransient(ctx, u); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestStartTransientTellsOfAJobThatFailed(t *testing.T) {
	p := systemdtest.New(t)
	p.SetResult("failed")
	m, ctx := dial(t, p)
	err := m.StartTransient(ctx, systemd.Unit{Name: "kvm-a.scope"})
	var job *systemd.JobError
	if !errors.As(err, &job) || job.Result != "failed" {
		t.Errorf("got %v, want a JobError", err)
	}
}

func TestStates(t *testing.T) {
	p := systemdtest.New(t)
	m, ctx := dial(t, p)
	p.SetState("kvm.service", "active")
	for unit, want := range map[string]string{"kvm.service": "active", "other.service": "inactive"} {
		if got, err := m.ActiveState(ctx, unit); got != want || err != nil {
			t.Errorf("state of %s: %q, %v; want %q", unit, got, err, want)
		}
	}
	if down, err := m.Stopping(ctx); down || err != nil {
		t.Errorf("stopping: %t, %v", down, err)
	}
	p.SetStopping()
	if down, err := m.Stopping(ctx); !down || err != nil {
		t.Errorf("stopping: %t, %v; want true", down, err)
	}
}

// A PID 1 that hangs must hang nobody: neither the one who connects, nor the one who is connected.
func TestASilentManagerIsWaitedForNoLongerThanTheDeadline(t *testing.T) {
	p := systemdtest.New(t)
	for _, connected := range []bool{false, true} {
		t.Run(fmt.Sprintf("connected=%t", connected), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			var m *systemd.Manager
			var err error
			if connected {
				p := systemdtest.New(t)
				if m, err = systemd.Dial(ctx, p.Socket); err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				p.Silence()
				if _, err = m.Stopping(ctx); err == nil {
					err = m.StartTransient(ctx, systemd.Unit{Name: "kvm-a.scope"})
				}
			} else {
				p.Silence()
				_, err = systemd.Dial(ctx, p.Socket)
			}
			if err == nil {
				t.Error("no error from a silent manager")
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	_, err := systemd.Dial(t.Context(), filepath.Join(t.TempDir(), "private"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}
