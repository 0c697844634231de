package vm

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/units"
)

func TestScopeOf(t *testing.T) {
	spec := &Spec{Name: "vm-a.b", Description: "DNS\nand more"}
	bare := map[string]any{"Description": "KVM guest vm-a.b: DNS", "Slice": "kvm.slice", "DefaultDependencies": false,
		"Before": []string{"kvm.service"}, "SendSIGKILL": false, "CollectMode": "inactive-or-failed",
		"OnSuccess": []string{"kvm-ended@vm-a.b.service"}, "OnFailure": []string{"kvm-ended@vm-a.b.service"}, "PIDs": []uint32{42}}
	limited := map[string]any{"CPUQuotaPerSecUSec": uint64(1_500_000), "CPUWeight": uint64(200), "MemoryMax": uint64(2 << 30),
		"IOWeight": uint64(50), "TasksMax": uint64(200)}
	for name, v := range bare {
		limited[name] = v
	}
	for name, tt := range map[string]struct {
		limits Limits
		want   map[string]any
	}{
		"no limits":  {Limits{}, bare},
		"all limits": {Limits{CPU: 150, CPUWeight: 200, Memory: 2 * units.GiB, IOWeight: 50, Tasks: 200}, limited},
	} {
		t.Run(name, func(t *testing.T) {
			spec.Limits = tt.limits
			u := ScopeOf(spec, 42)
			got := map[string]any{}
			for _, p := range u.Properties {
				got[p.Name] = p.Value.Value()
			}
			if d := cmp.Diff(tt.want, got); d != "" || u.Name != "kvm-vm-a.b.scope" {
				t.Errorf("%s (-want +got):\n%s", u.Name, d)
			}
		})
	}
}
