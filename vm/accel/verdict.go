package accel

import (
	"fmt"
	"time"
)

// Cause says in one word why KVM is usable or not.
type Cause string

// The causes. Only Proved goes with Verdict.Usable.
const (
	Proved      Cause = "proved"      // the right answer in time
	Missing     Cause = "missing"     // no such device
	Denied      Cause = "denied"      // the device exists, but not for us
	NotKVM      Cause = "not-kvm"     // something else under that name, or another API
	Broken      Cause = "broken"      // KVM refused a step, or the guest did something else than its program
	Slow        Cause = "slow"        // right so far, but every instruction is emulated
	Busy        Cause = "busy"        // the host gave the guest too little CPU time to tell
	Interrupted Cause = "interrupted" // the caller's context ended
)

// lasting reports whether the answer holds for as long as the device and the boot do.
func (c Cause) lasting() bool { return c == Proved || c == Slow }

// Verdict is what the probe found.
type Verdict struct {
	Usable  bool
	Cause   Cause
	Took    time.Duration // of the guest's loop; 0: it was not run
	Reason  string        // one line for people; empty when usable
	Checked time.Time
}

// exit is one return of KVM_RUN.
type exit struct {
	reason uint32
	out    bool // the rest: for exitIO only
	size   uint8
	port   uint16
	data   byte
}

func (e exit) String() string {
	switch e.reason {
	case exitIO:
		return fmt.Sprintf("I/O on port %#x", e.port)
	case exitHLT:
		return "halt"
	case exitShutdown:
		return "shutdown (triple fault)"
	case exitFailEntry:
		return "entry refused by the CPU"
	case exitInternalError:
		return "KVM internal error"
	}
	return fmt.Sprintf("exit reason %d", e.reason)
}

// outcome is what one run of the program showed.
type outcome struct {
	exits  []exit
	kicked bool // the limit or the context ended it
	regs   regs
	result uint64 // what the guest left at resultAt
	took   time.Duration
	cpu    time.Duration // of the thread meanwhile, the guest's instructions included
	err    error
}

// judge decides on an outcome: usable is the exact trace of the program within limit.
func judge(o outcome, limit time.Duration) Verdict {
	v := Verdict{Took: o.took}
	if o.err != nil {
		v.Cause, v.Reason = Broken, o.err.Error()
		return v
	}
	if wrong := o.wrong(); wrong != "" {
		v.Cause, v.Reason = Broken, "KVM runs the probe wrongly: "+wrong
		return v
	}
	if !o.kicked && o.took <= limit {
		v.Usable, v.Cause = true, Proved
		return v
	}
	if o.cpu < limit/2 {
		v.Cause = Busy
		v.Reason = fmt.Sprintf("the host is too busy to tell: the probe got %v of CPU time in %v", o.cpu.Round(time.Millisecond), o.took.Round(time.Millisecond))
		return v
	}
	v.Cause = Slow
	v.Reason = fmt.Sprintf("1,000,000 turns took >%v: every instruction is emulated (nested or PVM host)", limit)
	return v
}

// wrong names the first difference from what the program does; empty: none as far as it got.
func (o outcome) wrong() string {
	want := []exit{{reason: exitIO, out: true, size: 1, port: answerPort, data: byte(answer & 0xff)}, {reason: exitHLT}}
	for i, e := range o.exits {
		if i >= len(want) || e != want[i] {
			return fmt.Sprintf("exit %d is %v", i+1, e)
		}
	}
	switch {
	case len(o.exits) > 0 && o.result != answer:
		return fmt.Sprintf("memory holds %#x", o.result)
	case o.kicked:
		return ""
	case len(o.exits) != len(want):
		return fmt.Sprintf("it ended after %d exits", len(o.exits))
	case o.regs.RAX != answer || o.regs.RCX != 0:
		return fmt.Sprintf("rax %#x, rcx %#x", o.regs.RAX, o.regs.RCX)
	case o.regs.RIP != haltedAt():
		return fmt.Sprintf("rip %#x", o.regs.RIP)
	}
	return ""
}
