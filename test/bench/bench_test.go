package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedianLiesInTheMiddleOfSortedRuns(t *testing.T) {
	for _, tt := range []struct {
		runs series
		want time.Duration
	}{{nil, 0}, {series{7}, 7}, {series{9, 1, 5}, 5}, {series{10, 1, 2, 4}, 3}} {
		if got := tt.runs.median(); got != tt.want {
			t.Errorf("median of %v is %d, want %d", tt.runs, got, tt.want)
		}
	}
}

func TestContendersTakeTurnsAndTheFirstRoundIsNotCounted(t *testing.T) {
	var order strings.Builder
	contenderOf := func(name string) contender {
		return contender{name, func(context.Context) (time.Duration, error) {
			order.WriteString(name)
			return time.Duration(order.Len()), nil
		}}
	}
	got, err := inTurn(t.Context(), 2, contenderOf("A"), contenderOf("B"))
	if err != nil {
		t.Fatal(err)
	}
	if order.String() != "ABABAB" {
		t.Errorf("order %s", order.String())
	}
	if diff := cmp.Diff([]series{{3, 5}, {4, 6}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestATraceIsCountedUntilTheKvmctlThatStartedQEMUEnds(t *testing.T) {
	const qemu = "/usr/bin/qemu"
	trace := `10<strace> execve("/bin/kvmctl", ["kvmctl"], 0x7f /* 39 vars */) = 0
12<kvmctl> fsync(8 <unfinished ...>
12<kvmctl> <... fsync resumed>) = 0
13<kvmctl> exit_group(0) = ?
14<kvmctl> execve("/proc/self/exe", ["kvmctl-launch"], 0x38 /* 1 var */) = 0
14<exe> execve("/usr/bin/qemu", ["/usr/bin/qemu", "fsync(1)"], 0x34 /* 2 vars */) = 0
14<qemu> fdatasync(5) = 0
12<kvmctl> fsync(9) = 0
`
	want := counts{execs: []string{"/bin/kvmctl", "/proc/self/exe", qemu}, syncs: 2, qemu: 1}
	if got, ended := readTrace(trace, qemu); ended || !cmp.Equal(want, got, cmp.AllowUnexported(counts{})) {
		t.Errorf("before its end: %+v, ended %v", got, ended)
	}
	trace += "11<kvmctl> exit_group(0) = ?\n14<qemu> fsync(5) = 0\n"
	if got, ended := readTrace(trace, qemu); !ended || !cmp.Equal(want, got, cmp.AllowUnexported(counts{})) {
		t.Errorf("after its end: %+v, ended %v", got, ended)
	}
}

func TestAMissedFigureIsCountedUnlessItCouldNotBeMeasured(t *testing.T) {
	r := report{rows: []row{{wanted: "x"}, {wanted: "x", ok: true}, {}, {wanted: "x", missing: errors.New("no libvirt\nhere")}}}
	if n := r.missed(); n != 1 {
		t.Errorf("%d missed, want 1", n)
	}
	if !strings.Contains(r.markdown(), "not measured | | | x | | no libvirt here |") {
		t.Errorf("the table does not say what was not measured:\n%s", r.markdown())
	}
}
