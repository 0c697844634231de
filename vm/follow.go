package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Times of following.
const (
	followPace  = 100 * time.Millisecond // between two looks: what comes meanwhile is told together
	followNap   = 250 * time.Millisecond // how long one wait takes at most: then the context is asked
	followSweep = 2 * time.Second        // how often all guests are looked at, should the kernel have told nothing
	followLock  = 50 * time.Millisecond  // how long the end of a guest waits for a kvmctl at work on it before it is tried again
)

// followEvents bounds how many of one guest's events are told at one look.
const followEvents = 50

// follower sees what happens to guests: inotify tells which recorder or history has grown, a pidfd that a QEMU has gone, and what is new
// comes from the histories, into which each look harvests.
type follower struct {
	h       *Host
	only    []string // nil: every guest, also those that come later
	inotify int
	guests  map[string]*followed
	watches map[int32]string // watch → guest; "" for a directory of guests
	swept   time.Time
}

// followed is one guest of a follower's.
type followed struct {
	tail    historyTail
	process *Process // of the run that goes on; nil: none is known
	dirty   bool
}

// Follow tells what the histories of guests hold, and then what happens to them until ctx ends, which is no error. names nil: every guest,
// also one that is made later. backlog chooses from what each guest's history holds at the beginning. A guest that ends unseen is noticed
// here, and its hooks are left to those who take its lock to change it.
func (h *Host) Follow(ctx context.Context, names []string, backlog func(name string, facts []Fact) []Fact, say func([]GuestFact) error) error {
	if err := MakeDirs(h.RunRoot(), 0o711); err != nil { // to be told of the first guest
		return err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch the recorders: %w", err)
	}
	f := &follower{h: h, only: names, inotify: fd, guests: map[string]*followed{}, watches: map[int32]string{}}
	defer f.close()
	var first []GuestFact
	if err := f.sweep(); err != nil {
		return err
	}
	for name, g := range f.guests {
		facts, err := f.look(ctx, name, g)
		if err != nil {
			return err
		}
		first = append(first, named(name, backlog(name, facts))...)
	}
	Merge(first)
	if err := say(first); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := f.wait(); err != nil {
			return err
		}
		if time.Since(f.swept) > followSweep {
			if err := f.sweep(); err != nil {
				return err
			}
		}
		var news []GuestFact
		for name, g := range f.guests {
			if !g.dirty || ctx.Err() != nil {
				continue
			}
			facts, err := f.look(ctx, name, g)
			if err != nil {
				return err
			}
			news = append(news, named(name, thin(facts, followEvents))...)
		}
		if len(news) > 0 {
			Merge(news)
			if err := say(news); err != nil {
				return err
			}
		}
		pause(ctx, followPace)
	}
	return nil
}

func named(name string, facts []Fact) []GuestFact {
	out := make([]GuestFact, len(facts))
	for i, f := range facts {
		out[i] = GuestFact{name, f}
	}
	return out
}

// sweep finds guests that were not there and marks all for a look.
func (f *follower) sweep() error {
	f.swept = time.Now()
	names := f.only
	if names == nil {
		var err error
		if names, err = f.h.Recorded(); err != nil {
			return err
		}
		f.watch(f.h.RunRoot(), "", unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
		f.watch(f.h.LibDir(), "", unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	}
	for _, name := range names {
		if f.guests[name] == nil {
			f.guests[name] = &followed{tail: historyTail{l: f.h.Layout, name: name}}
		}
	}
	for name, g := range f.guests {
		if g.process == nil && f.only == nil && !slices.Contains(names, name) { // deleted
			g.tail.close()
			delete(f.guests, name)
			continue
		}
		g.dirty = true
	}
	return nil
}

// watch asks the kernel to tell of changes. What it cannot watch, or is not there yet, is found by the next sweep.
func (f *follower) watch(path, name string, what uint32) {
	if wd, err := unix.InotifyAddWatch(f.inotify, path, what|unix.IN_DONT_FOLLOW); err == nil {
		f.watches[int32(wd)] = name
	}
}

// look harvests a guest and reads what is new of it.
func (f *follower) look(ctx context.Context, name string, g *followed) ([]Fact, error) {
	g.dirty = false
	f.watch(f.h.GuestLibDir(name), name, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	f.watch(f.h.run(name, recDirName, eventsName), name, unix.IN_MODIFY)
	if g.process == nil {
		if p, err := f.h.owner(name); err == nil {
			g.process = p
		} else if exists(f.h.RunDir(name)) {
			f.h.recordSoon(ctx, name, followLock)
		}
	}
	if g.process != nil && g.process.Wait(ctx, 0) {
		if f.h.recordSoon(ctx, name, followLock); !exists(f.h.RunDir(name)) {
			g.process.Close()
			g.process = nil
		} else {
			g.dirty = true // somebody is at work on it
		}
	}
	if err := f.h.Harvest(name); err != nil {
		return nil, fmt.Errorf("follow %s: %w", name, err)
	}
	facts, err := g.tail.next()
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", name, err)
	}
	return facts, nil
}

// wait returns when something may have happened, or after a nap.
func (f *follower) wait() error {
	fds := []unix.PollFd{{Fd: int32(f.inotify), Events: unix.POLLIN}}
	var of []*followed
	nap := followNap
	for _, g := range f.guests {
		if g.dirty {
			nap = 0
		}
		if g.process != nil {
			fds = append(fds, unix.PollFd{Fd: int32(g.process.fd), Events: unix.POLLIN})
			of = append(of, g)
		}
	}
	n, err := unix.Poll(fds, int(nap/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for events: %w", err)
	}
	if n <= 0 {
		return nil
	}
	for i, fd := range fds[1:] {
		if fd.Revents != 0 {
			of[i].dirty = true
		}
	}
	if fds[0].Revents != 0 {
		f.told()
	}
	return nil
}

// maxInotify holds what the kernel tells at once.
const maxInotify = 16 << 10

// told reads what the kernel tells and marks whom it is about. The console's log grows beside the history and is nobody's news.
func (f *follower) told() {
	buf := make([]byte, maxInotify)
	n, err := unix.Read(f.inotify, buf)
	if err != nil {
		return // EAGAIN; anything else shows as what the sweep finds
	}
	for _, e := range parseInotify(buf[:n]) {
		name, ok := f.watches[e.watch]
		switch {
		case e.mask&unix.IN_Q_OVERFLOW != 0, ok && name == "":
			f.swept = time.Time{}
		case e.mask&unix.IN_IGNORED != 0:
			delete(f.watches, e.watch)
		case ok && !strings.HasPrefix(e.name, "console."):
			if g := f.guests[name]; g != nil {
				g.dirty = true
			}
		}
	}
}

// inotifyEvent is one struct inotify_event (inotify(7)).
type inotifyEvent struct {
	watch int32
	mask  uint32
	name  string
}

// parseInotify takes apart what the kernel wrote; a rest that is cut is left out.
func parseInotify(b []byte) (all []inotifyEvent) {
	for len(b) >= unix.SizeofInotifyEvent {
		length := binary.NativeEndian.Uint32(b[12:])
		if uint64(length) > uint64(len(b)-unix.SizeofInotifyEvent) {
			break
		}
		end := unix.SizeofInotifyEvent + int(length)
		name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:end]), "\x00")
		all = append(all, inotifyEvent{int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), name})
		b = b[end:]
	}
	return all
}

func (f *follower) close() {
	for _, g := range f.guests {
		g.tail.close()
		if g.process != nil {
			g.process.Close()
		}
	}
	unix.Close(f.inotify)
}
