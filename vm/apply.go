package vm

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Outcome is what became of a change.
type Outcome struct {
	Change
	Acted  bool   // QEMU was asked
	Note   string // what the guest has now, or why it has not
	InVain bool   // the guest did not follow in time
	Err    error  // QEMU or the host refused; nothing of this change is left
}

// GuestTime is how long a guest may take to take or to give back; tests shorten it.
const guestTime = 15 * time.Second

// applyTime bounds a whole application: another kvmctl waits for the guest's lock a little longer.
const applyTime = lockWait - 5*time.Second

// ApplyOptions say how to apply.
type ApplyOptions struct {
	Named []string // keys that somebody has just written: the password of a file that is named again is read again
	Force bool     // take a disc out although the guest has locked the drive
}

// Apply gives a running guest what can be had of its file now, and says of the rest when it comes. The caller holds the guest's lock
// (WithLock). Each change that succeeded is written down before the next: a kvmctl that is killed leaves the rest to be seen by
// Compare, which asks QEMU, and to be done by the next Apply.
func (h *Host) Apply(ctx context.Context, file *Spec, o ApplyOptions) ([]Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, applyTime)
	defer cancel()
	x, err := h.examine(ctx, file)
	if err != nil {
		return nil, err
	}
	defer x.close()
	if x.live == nil {
		return outcomes(x.plan), nil
	}
	if slices.Contains(o.Named, passwordKey) {
		x.plan = passwordAgain(x.plan, file, x.live)
	}
	e := &executor{h: h, file: file, examined: x, name: file.Name, force: o.Force}
	return e.run(ctx)
}

// passwordAgain plans to read the password's file again, unless that is planned.
func passwordAgain(plan []Change, file *Spec, live *Running) []Change {
	name := file.VNC.PasswordFile
	planned := slices.ContainsFunc(plan, func(c Change) bool { return c.Key == passwordKey && c.When != WhenDone })
	if planned || name == "" || !live.VNCPassword {
		return plan
	}
	plan = slices.DeleteFunc(slices.Clone(plan), func(c Change) bool { return c.Key == passwordKey })
	return append(plan, Change{Key: passwordKey, File: name, Started: name, Live: name, When: WhenNow, op: opPassword})
}

func outcomes(plan []Change) []Outcome {
	var all []Outcome
	for _, c := range plan {
		all = append(all, Outcome{Change: c})
	}
	return all
}

// executor applies changes to a running guest.
type executor struct {
	*examined
	h    *Host
	name string
	file *Spec

	force bool // ApplyOptions.Force
}

func (e *executor) run(ctx context.Context) ([]Outcome, error) {
	all := outcomes(e.plan)
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(all[a].op) - int(all[b].op) })
	if err := e.pinNew(); err != nil {
		return nil, err
	}
	for _, n := range e.live.Stale {
		e.drop("blockdev-del", map[string]any{"node-name": n})
	}
	for _, set := range e.live.Sets {
		e.drop("remove-fd", map[string]any{"fdset-id": set})
	}
	e.rec.Unseen = nil
	pending := false
	for _, i := range order {
		o := &all[i]
		if o.op != opNone {
			if o.Err = ctx.Err(); o.Err == nil {
				e.do(ctx, o)
			}
			e.h.step("applied")
			if o.Err == nil && (o.When == WhenDone || o.When == WhenGuest) {
				if err := e.h.note(e.name, e.rec); err != nil {
					return all, err
				}
			}
		}
		pending = pending || o.When == WhenStart || o.Err != nil
	}
	if !pending { // what needs nothing of the guest is in force, too
		cards := make([]ABINIC, len(e.file.NICs))
		copy(cards, e.pinned.NICs)
		e.rec.Applied, e.rec.Cards = *e.file, cards
	}
	return all, e.h.note(e.name, e.rec)
}

// pinNew writes the places of what is about to be added into the ABI lock: before QEMU has it, so that a start after a kill finds
// it where the guest met it.
func (e *executor) pinNew() error {
	spec := *e.file
	spec.Disks, spec.NICs = nil, nil
	later := func(o op, at int) bool {
		return slices.ContainsFunc(e.plan, func(c Change) bool { return c.File != "" && c.at == at && c.When == WhenStart && c.op == o })
	}
	comes := false
	for i, d := range e.file.Disks {
		if !later(opAddDisk, i) {
			spec.Disks = append(spec.Disks, d)
		}
	}
	for i, n := range e.file.NICs {
		if !later(opAddNIC, i) {
			spec.NICs = append(spec.NICs, n)
		}
	}
	for _, c := range e.plan {
		comes = comes || c.When == WhenNow && (c.op == opAddDisk || c.op == opAddNIC || c.op == opRemoveNIC)
	}
	if !comes {
		return nil
	}
	pinned, err := PinLive(e.abi, &spec, e.live)
	if err != nil {
		return err
	}
	if err := saveABI(e.h.ABILock(e.name), e.abi, pinned); err != nil {
		return err
	}
	e.abi = &pinned
	e.h.step("pinned")
	k := 0
	for i := range e.file.NICs {
		if !later(opAddNIC, i) {
			e.pinned.NICs[i] = pinned.NICs[k]
			k++
		}
	}
	return nil
}

func (e *executor) do(ctx context.Context, o *Outcome) {
	acts := map[op]func(context.Context, *Outcome) error{
		opRemoveNIC: e.removeNIC, opRemoveDisk: e.removeDisk, opDisc: e.changeDisc, opAddDisk: e.addDisk, opAddNIC: e.addNIC,
		opMemory: e.setMemory, opCPUs: e.setCPUs, opPassword: e.setPassword, opRate: e.setRate,
	}
	if o.When == WhenStart {
		return
	}
	o.When, o.Acted = WhenDone, true // unless the act says otherwise
	if o.Err = acts[o.op](ctx, o); o.Err != nil {
		o.When = WhenNow
	}
}

// unknown marks a change that QEMU made and of which nobody tells whether the guest sees it.
func (e *executor) unknown(o *Outcome, note string) {
	e.guestHasNot(o, "%s", note)
	o.InVain = false
}

// guestHasNot marks a change that QEMU made and the guest did not follow in time.
func (e *executor) guestHasNot(o *Outcome, format string, args ...any) {
	o.When, o.Note = WhenGuest, fmt.Sprintf(format, args...)
	o.InVain = true
	if !slices.Contains(e.rec.Unseen, o.Key) {
		e.rec.Unseen = append(e.rec.Unseen, o.Key)
	}
}

// waitFor asks until done says so, d is over or ctx ends; what the last answer was counts.
func waitFor(ctx context.Context, d time.Duration, done func(context.Context) (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		ok, err := done(ctx)
		switch {
		case ok:
			return true, nil
		case ctx.Err() != nil: // it is late, whatever a question that was cut short says
			return false, nil
		case err != nil:
			return false, err
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// setPassword gives the screen the password that is in the file.
func (e *executor) setPassword(ctx context.Context, _ *Outcome) error {
	password, err := readPassword(e.file.VNC.PasswordFile)
	if err != nil {
		return err
	}
	args := map[string]any{"protocol": "vnc", "password": password}
	if err := e.mon.Execute(ctx, "set_password", args, nil); err != nil {
		return fmt.Errorf("set the VNC password: %w", err)
	}
	e.rec.Applied.VNC.PasswordFile = e.file.VNC.PasswordFile
	return nil
}
