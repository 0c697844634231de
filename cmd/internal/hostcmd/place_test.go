package hostcmd

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/systemd"
	"kvmctl/internal/systemd/systemdtest"
	"kvmctl/vm"
)

func TestPlaceAt(t *testing.T) {
	warning := []string{"kvm.service is inactive: when the host goes down, the guest loses its power: systemctl enable --now kvm.service"}
	for name, tt := range map[string]struct {
		prepare func(*systemdtest.PID1)
		notes   []string
		made    bool
		refused bool
	}{
		"kvm.service stands":           {func(p *systemdtest.PID1) { p.SetState("kvm.service", "active") }, nil, true, false},
		"kvm.service is just starting": {func(p *systemdtest.PID1) { p.SetState("kvm.service", "activating") }, nil, true, false},
		"kvm.service does not":         {func(p *systemdtest.PID1) {}, warning, true, false},
		"the host is going down":       {func(p *systemdtest.PID1) { p.SetStopping() }, nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := systemdtest.New(t)
			tt.prepare(p)
			notes, err := placeAt(t.Context(), p.Socket, systemd.Unit{Name: "kvm-a.scope"})
			var down *vm.GoingDownError
			if errors.As(err, &down) != tt.refused || (err != nil) != tt.refused {
				t.Errorf("error %v", err)
			}
			if d := cmp.Diff(tt.notes, notes); d != "" {
				t.Errorf("notes (-want +got):\n%s", d)
			}
			if _, made := p.Units()["kvm-a.scope"]; made != tt.made {
				t.Errorf("made: %t", made)
			}
		})
	}
}
