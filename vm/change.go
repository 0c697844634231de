package vm

import (
	"fmt"
	"slices"
	"strconv"

	"kvmctl/internal/units"
)

// When says when a change takes effect.
type When string

// The answers: WhenNow can be applied while the guest runs, WhenStart needs its next start, WhenGuest waits for the guest, WhenDone has been
// applied since the start.
const (
	WhenNow   When = "now"
	WhenStart When = "next start"
	WhenGuest When = "guest"
	WhenDone  When = "done"
)

// Change is one thing in which a guest's file, its last start and the running guest are not the same.
type Change struct {
	Key                 string // of vm.toml: "memory", "disk.1.cache"; of a device that the file lacks its kind: "disk"
	File, Started, Live string // in words; "" where there is none
	When                When
	Reason              string // why not now
	op                  op
	at                  int    // index in the file's list of devices
	id                  string // of QEMU's device
}

// op is what the executor does.
type op int

// In the order of execution: what goes makes room for what comes.
const (
	opNone op = iota
	opRemoveNIC
	opRemoveDisk
	opDisc
	opAddDisk
	opAddNIC
	opMemory
	opCPUs
	opPassword
	opRate
)

// planner compares three descriptions of a guest.
type planner struct {
	file    *Spec
	pinned  *ABI     // of file
	rec     *Record  // nil: it was never started
	live    *Running // nil: it does not run
	changes []Change
}

// Plan compares a guest's file with its last start (nil: unknown) and with the running guest (nil: it does not run), and says of each
// difference when it takes effect. pinned gives the places of the file's devices: PinLive's for a guest that runs.
func Plan(file *Spec, pinned *ABI, rec *Record, live *Running) []Change {
	if rec == nil {
		return nil
	}
	p := &planner{file: file, pinned: pinned, rec: rec, live: live}
	p.settings()
	p.disks()
	p.cdroms()
	p.nics()
	return p.changes
}

// add adds a row if there is anything to tell.
func (p *planner) add(c Change) {
	switch {
	case p.live == nil && c.File == c.Started:
		return
	case p.live == nil:
		c.Live, c.When, c.Reason, c.op = "", WhenStart, "", opNone
	case c.File == c.Live && c.When != WhenGuest:
		if c.File == c.Started {
			return
		}
		c.When, c.Reason, c.op = WhenDone, "", opNone
	}
	p.changes = append(p.changes, c)
}

// passwordKey names the file of the screen's password.
const passwordKey = "vnc.password_file"

// fixed is why most keys wait.
const fixed = "fixed while it runs"

func (p *planner) settings() {
	file, started, applied := p.file.settings(), p.rec.Started.settings(), p.rec.Applied.settings()
	keys := []string{}
	for _, list := range [][]setting{file, started, applied} {
		for _, x := range list {
			if !slices.Contains(keys, x.key) && !needsNothing(x.key) {
				keys = append(keys, x.key)
			}
		}
	}
	for _, key := range keys {
		c := Change{Key: key, File: p.file.value(key, file), Started: p.rec.Started.value(key, started),
			Live: p.rec.Applied.value(key, applied), When: WhenStart, Reason: fixed}
		switch key {
		case "memory":
			p.memory(c)
			continue
		case "cpus":
			p.cpus(c)
			continue
		case "machine":
			c.Reason = "the guest keeps " + p.pinned.Machine + ": kvmctl upgrade-machine " + p.file.Name
		case passwordKey:
			if p.live != nil && p.live.VNCPassword && c.File != "" {
				c.When, c.Reason, c.op = WhenNow, "", opPassword
			} else if p.live != nil && p.live.VNC {
				c.Reason = "whether a password is asked for is " + fixed
			}
		}
		p.add(c)
	}
}

// value gives a setting; memory_max and cpus_max have one also where they only follow another.
func (s *Spec) value(key string, all []setting) string {
	for _, x := range all {
		if x.key == key {
			return x.value
		}
	}
	switch key {
	case "memory_max":
		return s.MemoryMax.String()
	case "cpus_max":
		return strconv.Itoa(s.CPUsMax)
	}
	return ""
}

func (p *planner) memory(c Change) {
	if p.live == nil {
		p.add(c)
		return
	}
	want := p.file.Memory
	c.Live, c.When, c.Reason, c.op = p.live.Memory().String(), WhenNow, "", opMemory
	grow := max(0, want-p.live.Base)
	switch {
	case want == p.live.Memory() && slices.Contains(p.rec.Unseen, "memory"):
		c.When, c.Reason = WhenGuest, "added, not seen by the guest"
	case want == p.live.Memory():
	case grow > p.live.Growth:
		c.When, c.op = WhenStart, opNone
		c.Reason = fmt.Sprintf("this run can grow to %v: memory_max", p.live.Base+p.live.Growth)
	case want > p.live.Memory() && p.rec.Limit > 0 && p.rec.Limit < LeastMemoryLimit(want):
		c.When, c.op = WhenStart, opNone
		c.Reason = fmt.Sprintf("the kernel kills this run when it needs more than %v: limits.memory", p.rec.Limit)
	case grow%MemoryBlock != 0:
		c.When, c.op = WhenStart, opNone
		c.Reason = fmt.Sprintf("while it runs it grows from %v in steps of %v", p.live.Base, units.Size(MemoryBlock))
	case grow == p.live.Requested && slices.Contains(p.rec.Unseen, "memory"):
		c.When, c.Reason = WhenGuest, "the guest was asked"
	}
	p.add(c)
}

func (p *planner) cpus(c Change) {
	if p.live == nil {
		p.add(c)
		return
	}
	have := p.live.CPUCount()
	c.Live, c.When, c.Reason, c.op = strconv.Itoa(have), WhenNow, "", opCPUs
	switch {
	case p.file.CPUs == have && slices.Contains(p.rec.Unseen, "cpus"):
		c.When, c.Reason = WhenGuest, "added, not seen by the guest"
	case p.file.CPUs > len(p.live.CPUs):
		c.When, c.Reason, c.op = WhenStart, fmt.Sprintf("this run can have %d: cpus_max", len(p.live.CPUs)), opNone
	}
	p.add(c)
}
