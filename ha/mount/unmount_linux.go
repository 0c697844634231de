package mount

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
)

// Between the rounds of Unmount.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// Unmount unmounts m and proves that its device is free: that it can be opened exclusively, and that no process has it open. Without kill it
// touches nothing but the mount at m.Dir; with kill it undoes all mounts of the file system and on it, and ends the processes that hold it:
// SIGTERM, SIGKILL after the grace; never process 1, this one or the kernel's. It tries until ctx ends. The report names every
// holder that was found and what became of it. A file system that is mounted nowhere is no error, nor is a device that is
// gone. Errors: ErrNoDevice, ErrHangs, *BusyError.
func (x *Mounter) Unmount(ctx context.Context, m Mount, kill bool) ([]Holder, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("unmount %s: %w", m.Dir, err)
	}
	r := &report{fates: make(map[who]Holder)}
	if err := x.act(ctx, m.Dir, func(ctx context.Context) error { return x.unmount(ctx, m, kill, r) }); err != nil {
		return r.list(), fmt.Errorf("unmount %s: %w", m.Dir, err)
	}
	return r.list(), nil
}

func (x *Mounter) unmount(ctx context.Context, m Mount, kill bool, r *report) error {
	dev, err := blockDevice(m.Device)
	if errors.Is(err, unix.ENOENT) && !source(m.Device) {
		return nil // a resource that was taken down has no device: it cannot have been in use
	}
	if err != nil {
		return err
	}
	dir, err := directory(m.Dir)
	if errors.Is(err, ErrNoDir) {
		dir = m.Dir // then nothing is mounted there; but perhaps elsewhere
	} else if err != nil {
		return err
	}
	raw := make(map[int]bool)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		cause := x.detach(dir, dev, kill, r)
		free := cause == nil && isFree(m.Device)
		// A look is a matter of milliseconds and is not cut short by ctx: an error that says busy has to say who.
		holders, t, err := x.holders(context.WithoutCancel(ctx), m, dev)
		switch {
		case err != nil:
			return err
		case free && len(holders) == 0:
			return nil
		}
		r.saw(holders)
		if kill {
			x.end(ctx, t, victims(holders, raw), r)
		}
		if !wait(ctx, pause) {
			return &BusyError{Device: m.Device, Dir: m.Dir, Holders: r.with(holders), Cause: cause}
		}
	}
}

// isFree reports whether the device can be claimed. A DRBD device that is secondary cannot be opened, and nothing can be on it; likewise one
// that was taken down.
func isFree(path string) bool {
	err := exclusive(path)
	return err == nil || errors.Is(err, unix.EMEDIUMTYPE) || errors.Is(err, unix.ENXIO)
}

// source reports whether something is mounted here from a device of that name, or whether it cannot be known.
func source(path string) bool {
	table, err := mountinfo.Read()
	return err != nil || slices.ContainsFunc(table, func(e mountinfo.Entry) bool { return e.Source == path })
}

// detach unmounts what may be unmounted; never lazily: a file system that was detached so lives on where no table shows it. The error is the
// last one of the kernel's.
func (x *Mounter) detach(dir string, dev number, kill bool, r *report) error {
	table, err := mountinfo.Read()
	if err != nil {
		return err
	}
	var last error
	for _, e := range undo(table, dev) {
		main := e.Point == dir && device(e) == dev
		if !main && !kill {
			continue
		}
		switch err := x.here.umount(e.Point); {
		case err == nil && !main:
			h := beside(e, dev)
			h.Fate = Unmounted
			r.saw([]Holder{h})
		case err != nil:
			last = fmt.Errorf("umount %s: %w", e.Point, err)
		}
	}
	return last
}

// victims are the processes that may be ended. One that has just the device open may be a program that looks what it is, as udev's do after
// each change: it is ended when it is there a second time.
func victims(holders []Holder, raw map[int]bool) []Holder {
	return slices.DeleteFunc(slices.Clone(holders), func(h Holder) bool {
		if h.Kind == Raw && !raw[h.PID] {
			raw[h.PID] = true
			return true
		}
		return !h.Kind.process()
	})
}

// wait pauses; false: ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// who tells one holder from another.
type who struct {
	kind Kind
	pid  int
	what string
}

func key(h Holder) who {
	if h.PID != 0 {
		return who{pid: h.PID}
	}
	return who{h.Kind, 0, h.What}
}

// report is what Unmount has found so far.
type report struct {
	mu    sync.Mutex
	order []who
	fates map[who]Holder
}

func (r *report) saw(holders []Holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range holders {
		k := key(h)
		old, ok := r.fates[k]
		if !ok {
			r.order = append(r.order, k)
		} else if h.Fate == Stays {
			h.Fate = old.Fate
		}
		r.fates[k] = h
	}
}

func (r *report) list() []Holder {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Holder, 0, len(r.order))
	for _, k := range r.order {
		all = append(all, r.fates[k])
	}
	return all
}

// with gives holders as the report has them.
func (r *report) with(holders []Holder) []Holder {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(holders)
	for i, h := range all {
		all[i].Fate = r.fates[key(h)].Fate
	}
	return all
}
