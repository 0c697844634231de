package mount

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"kvmctl/internal/mountinfo"
)

// Holders tells who holds m's file system or its device, killing nobody. Errors: ErrNoDevice, ErrHangs.
func (x *Mounter) Holders(ctx context.Context, m Mount) ([]Holder, error) {
	var all []Holder
	err := x.act(ctx, m.Device, func(ctx context.Context) error {
		dev, err := blockDevice(m.Device)
		if err != nil {
			return err
		}
		hs, err := x.holders(ctx, m, dev)
		if err == nil {
			all = hs
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for who holds %s: %w", m.Device, err)
	}
	return all, nil
}

// holders looks everywhere.
func (x *Mounter) holders(ctx context.Context, m Mount, dev number) ([]Holder, error) {
	table, err := mountinfo.Read()
	if err != nil {
		return nil, err
	}
	dir, err := directory(m.Dir)
	if err != nil {
		dir = m.Dir
	}
	all := mounts(table, dir, dev)
	t := newTarget(table, dev)
	for _, pid := range numbers("/proc") {
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		u := t.look(pid)
		if len(u.open) > 0 {
			all = identify(all, Holder{Kind: Open, PID: pid, What: summary(u.open)})
		} else if len(u.raw) > 0 {
			all = identify(all, Holder{Kind: Raw, PID: pid, What: summary(u.raw)})
		}
	}
	return all, nil
}

func newTarget(table []mountinfo.Entry, dev number) *target {
	t := &target{dev: dev, nested: make(map[uint64]bool)}
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, "/proc/self/ns/mnt", 0, 0, &st) == nil {
		t.nsfs = number{st.Dev_major, st.Dev_minor}
	}
	for _, e := range undo(table, dev) {
		if device(e) != dev {
			t.nested[e.ID] = true
		}
	}
	return t
}

// mounts names what of the own table holds the file system beside the mount at dir.
func mounts(table []mountinfo.Entry, dir string, dev number) []Holder {
	var all []Holder
	main := false
	for _, e := range undo(table, dev) {
		switch {
		case device(e) != dev:
			all = append(all, Holder{Kind: Nested, What: fmt.Sprintf("%s (%s) is mounted on it: umount %s", name(e.Point), e.Type, quote(e.Point))})
		case e.Point == dir && e.Root == "/" && !main:
			main = true
		default:
			all = append(all, Holder{Kind: Bind, What: fmt.Sprintf("it is mounted on %s too: umount %s", name(e.Point), quote(e.Point))})
		}
	}
	return all
}

func identify(all []Holder, h Holder) []Holder {
	if h, ok := named(h); ok {
		return append(all, h)
	}
	return all
}
