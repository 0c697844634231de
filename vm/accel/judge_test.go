package accel

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheProgramIsTheOneInItsComment(t *testing.T) {
	const want = "b940420f00" + "ffc9" + "75fc" + "48b82a2a6c74636d766b" + "4889042500400000" + "e62a" + "f4"
	if diff := cmp.Diff(want, hex.EncodeToString(program(turns))); diff != "" {
		t.Errorf("program (-want +got):\n%s", diff)
	}
}

func TestJudge(t *testing.T) {
	const limit = 50 * time.Millisecond
	right := func(change func(*outcome)) outcome {
		o := outcome{
			exits:  []exit{{reason: exitIO, out: true, size: 1, port: 0x2a, data: 0x2a}, {reason: exitHLT}},
			regs:   regs{RAX: answer, RIP: codeAt + 30, RFLAGS: 0x46},
			result: answer,
			took:   time.Millisecond,
			cpu:    time.Millisecond,
		}
		change(&o)
		return o
	}
	tests := []struct {
		name string
		give outcome
		want Verdict
	}{
		{"right and in time", right(func(*outcome) {}),
			Verdict{Usable: true, Cause: Proved, Took: time.Millisecond}},
		{"right at the last moment", right(func(o *outcome) { o.took = limit }),
			Verdict{Usable: true, Cause: Proved, Took: limit}},
		{"right but late", right(func(o *outcome) { o.took, o.cpu = limit+1, limit }),
			Verdict{Cause: Slow, Took: limit + 1, Reason: "1,000,000 turns took >50ms: every instruction is emulated (nested or PVM host)"}},
		{"stopped in the loop", right(func(o *outcome) { *o = outcome{kicked: true, took: limit, cpu: limit} }),
			Verdict{Cause: Slow, Took: limit, Reason: "1,000,000 turns took >50ms: every instruction is emulated (nested or PVM host)"}},
		{"stopped between the exits", right(func(o *outcome) { o.kicked, o.exits, o.took, o.cpu, o.regs = true, o.exits[:1], limit, limit, regs{} }),
			Verdict{Cause: Slow, Took: limit, Reason: "1,000,000 turns took >50ms: every instruction is emulated (nested or PVM host)"}},
		{"stopped while the host was busy", right(func(o *outcome) { *o = outcome{kicked: true, took: limit, cpu: limit/2 - 1} }),
			Verdict{Cause: Busy, Took: limit, Reason: "the host is too busy to tell: the probe got 25ms of CPU time in 50ms"}},
		{"triple fault", right(func(o *outcome) { o.exits = []exit{{reason: exitShutdown}} }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: exit 1 is shutdown (triple fault)"}},
		{"entry refused", right(func(o *outcome) { o.exits = []exit{{reason: exitFailEntry}} }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: exit 1 is entry refused by the CPU"}},
		{"internal error after the output", right(func(o *outcome) { o.exits[1].reason = exitInternalError }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: exit 2 is KVM internal error"}},
		{"an exit of another kind", right(func(o *outcome) { o.exits[1].reason = 99 }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: exit 2 is exit reason 99"}},
		{"another port", right(func(o *outcome) { o.exits[0].port = 0x2b }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: exit 1 is I/O on port 0x2b"}},
		{"an input, not an output", right(func(o *outcome) { o.exits[0].out = false }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: exit 1 is I/O on port 0x2a"}},
		{"another byte", right(func(o *outcome) { o.exits[0].data = 1 }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: exit 1 is I/O on port 0x2a"}},
		{"memory not written", right(func(o *outcome) { o.result = 0 }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: memory holds 0x0"}},
		{"only half of a 64-bit register", right(func(o *outcome) { o.regs.RAX &= 0xffffffff }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: rax 0x746c2a2a, rcx 0x0"}},
		{"turns left over", right(func(o *outcome) { o.regs.RCX = 7 }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: rax 0x6b766d63746c2a2a, rcx 0x7"}},
		{"halted elsewhere", right(func(o *outcome) { o.regs.RIP = 0 }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: rip 0x0"}},
		{"no exit at all", right(func(o *outcome) { o.exits = nil }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM runs the probe wrongly: it ended after 0 exits"}},
		{"KVM_RUN fails", right(func(o *outcome) { o.err = errors.New("KVM_RUN: exec format error") }),
			Verdict{Cause: Broken, Took: time.Millisecond, Reason: "KVM_RUN: exec format error"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, judge(tt.give, limit)); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}
