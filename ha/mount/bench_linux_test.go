package mount

import (
	"testing"

	"kvmctl/internal/mountinfo"
)

// BenchmarkLook is one look at all processes of this machine.
func BenchmarkLook(b *testing.B) {
	table, err := mountinfo.Read()
	if err != nil {
		b.Fatal(err)
	}
	t := newTarget(table, number{1 << 11, 1})
	for b.Loop() {
		for _, pid := range numbers("/proc") {
			t.look(pid)
		}
	}
	b.ReportMetric(float64(len(numbers("/proc"))), "processes")
}
