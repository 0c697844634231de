package confsync

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// wanted are the events that tell of a change (inotify(7)). What a program writes is there when it closes the file; a log that stays open is
// nobody's configuration, and a map into memory is seen by nobody: the next whole pass has both.
const wanted = unix.IN_CLOSE_WRITE | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF |
	unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// Watch calls changed once what a job copies has changed and is quiet again, until ctx ends or the kernel refuses. It calls it, too, when it begins to
// watch, and anew because directories came and went or, with lost, because the kernel had more to tell than room for it: a hint more than needed
// costs a pass that finds nothing.
func Watch(ctx context.Context, job Job, changed func(lost bool)) error {
	lost := false
	for {
		w, err := watch(ctx, job)
		if err != nil {
			return err
		}
		changed(lost) // what was changed while nobody watched
		lost, err = w.follow(ctx, job, func() { changed(false) })
		w.f.Close()
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// watcher is one inotify instance.
type watcher struct {
	f    *os.File
	fd   int              // of f, whose own Fd would make it one that blocks
	dirs map[int32]string // by watch
}

// LimitError says that the kernel has no room for more watches.
type LimitError struct{ Key string }

func (e *LimitError) Error() string { return "the limit " + e.Key + " is reached" }

// Hint says how to have more.
func (e *LimitError) Hint() string { return "sysctl " + e.Key }

func watch(ctx context.Context, job Job) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return nil, &LimitError{"fs.inotify.max_user_instances"}
	}
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	w := &watcher{os.NewFile(uintptr(fd), "inotify"), fd, map[int32]string{}}
	for _, p := range job.Paths {
		clean := filepath.Clean(p)
		err := w.add(filepath.Dir(clean), 0) // whoever replaces it does that there
		if err == nil && directory(p) {
			err = w.tree(ctx, job, clean)
		}
		if err != nil {
			w.f.Close()
			return nil, err
		}
	}
	return w, nil
}

// add watches one directory; one that is not there is told of by the one above it.
func (w *watcher) add(dir string, how uint32) error {
	wd, err := unix.InotifyAddWatch(w.fd, dir, wanted|how)
	switch {
	case errors.Is(err, unix.ENOSPC):
		return &LimitError{"fs.inotify.max_user_watches"}
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil
	case err != nil:
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	w.dirs[int32(wd)] = dir
	return nil
}

// tree watches a directory and those below it: each before it is listed, so that what comes meanwhile is seen by one or the other.
func (w *watcher) tree(ctx context.Context, job Job, root string) error {
	return filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("watch %s: %w", root, err)
		}
		if !d.IsDir() {
			return nil
		}
		if rel, err := filepath.Rel(root, at); err != nil || rel != "." && job.apart(rel) {
			return errors.Join(err, fs.SkipDir)
		}
		return w.add(at, unix.IN_DONT_FOLLOW)
	})
}

// follow tells of changes until the directories are others, or the kernel lost some of what it had to tell.
func (w *watcher) follow(ctx context.Context, job Job, changed func()) (lost bool, err error) {
	defer context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })()
	var b burst
	anew := false
	buffer := make([]byte, 64<<10)
	for {
		if err := w.f.SetReadDeadline(b.until()); err != nil {
			return lost, fmt.Errorf("wait for changes: %w", err)
		}
		if ctx.Err() != nil { // it may have ended before that deadline was set
			return lost, nil
		}
		n, err := w.f.Read(buffer)
		switch {
		case ctx.Err() != nil, anew && errors.Is(err, os.ErrDeadlineExceeded):
			return lost, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			b = burst{}
			changed()
			continue
		case err != nil:
			return lost, fmt.Errorf("read changes: %w", err)
		}
		for _, e := range parseEvents(buffer[:n]) {
			touched, other := w.what(job, e)
			lost, anew = lost || e.mask&unix.IN_Q_OVERFLOW != 0, anew || other
			if touched || other {
				b.add(time.Now())
			}
		}
	}
}

// what tells whether an event is about a job's files, and whether the directories to watch may be others now.
func (w *watcher) what(job Job, e event) (touched, anew bool) {
	const self = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT
	const moved = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
	dir, known := w.dirs[e.watch]
	switch {
	case e.mask&unix.IN_Q_OVERFLOW != 0:
		return true, true
	case !known, e.mask&unix.IN_IGNORED != 0: // of a directory that has gone: that was told
		return false, false
	}
	return job.touches(filepath.Join(dir, e.name)), e.mask&self != 0 || e.mask&unix.IN_ISDIR != 0 && e.mask&moved != 0 && job.touches(filepath.Join(dir, e.name))
}

// event is one of inotify(7).
type event struct {
	watch int32
	mask  uint32
	name  string // in the directory; empty: the directory itself
}

// parseEvents takes apart what one read gave.
func parseEvents(b []byte) (all []event) {
	for len(b) >= unix.SizeofInotifyEvent {
		n := int(binary.NativeEndian.Uint32(b[12:]))
		if n > len(b)-unix.SizeofInotifyEvent {
			return all
		}
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+n], []byte{0})
		all = append(all, event{int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), string(name)})
		b = b[unix.SizeofInotifyEvent+n:]
	}
	return all
}
