package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/internal/smallfile"
)

// ConsoleReader follows what a guest's console says by its log, with any number of other readers beside it, over rotations and ends.
type ConsoleReader struct {
	h    *Host
	name string
	f    *os.File // nil: there is no log yet
	buf  []byte
}

// readerChunk bounds what Next gives at once, in bytes.
const readerChunk = 32 << 10

// FollowConsole begins so many bytes before the end of the log, or at the beginning of what is kept.
func (h *Host) FollowConsole(name string, back int64) (*ConsoleReader, error) {
	if err := h.Harvest(name); err != nil {
		return nil, err
	}
	r := &ConsoleReader{h: h, name: name, buf: make([]byte, readerChunk)}
	old, now, err := h.openConsoleLogs(name)
	if err != nil {
		return nil, err
	}
	r.f, err = seekBack(old, now, back)
	for _, f := range []*os.File{old, now} {
		if f != nil && f != r.f {
			f.Close()
		}
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("read the console's log: %w", err)
	}
	return r, nil
}

// Next gives what is new, at most 32 KiB, or nothing. It waits for nobody. The bytes are valid until the next call.
func (r *ConsoleReader) Next() ([]byte, error) {
	if err := r.h.Harvest(r.name); err != nil {
		return nil, err
	}
	for range 4 { // at most: the rest of a log, the one after it, the one after that, and nothing
		if r.f != nil {
			n, err := r.f.Read(r.buf)
			if n > 0 {
				return r.buf[:n], nil
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("read the console's log: %w", err)
			}
		}
		moved, err := r.advance()
		if err != nil || !moved {
			return nil, err
		}
	}
	return nil, nil
}

// advance goes on to the file after the one that is read to its end. Nobody writes to a log once it was rotated away.
func (r *ConsoleReader) advance() (bool, error) {
	old, now, err := r.h.openConsoleLogs(r.name)
	if err != nil {
		return false, err
	}
	next := now
	switch {
	case now == nil, r.f != nil && sameFile(r.f, now):
		next = nil
	case r.f == nil, old != nil && sameFile(r.f, old):
	default: // rotated twice since we looked: what is old now comes next
		next = old
	}
	for _, f := range []*os.File{old, now} {
		if f != nil && f != next {
			f.Close()
		}
	}
	if next == nil {
		return false, nil
	}
	if r.f != nil {
		// What was written between our last read and the rotation.
		if rest, err := io.ReadAll(io.LimitReader(r.f, 1)); err == nil && len(rest) == 1 {
			_, err = r.f.Seek(-1, io.SeekCurrent)
			next.Close()
			return err == nil, err
		}
		r.f.Close()
	}
	r.f = next
	return true, nil
}

// Close ends the reading.
func (r *ConsoleReader) Close() {
	if r.f != nil {
		r.f.Close()
	}
}

// openConsoleLogs opens the two parts of the log as they belong together; nil for one that is not there.
func (l Layout) openConsoleLogs(name string) (old, now *os.File, err error) {
	for {
		if now, err = openPlain(l.ConsoleLog(name)); err != nil {
			return nil, nil, err
		}
		if old, err = openPlain(l.ConsoleLogOld(name)); err != nil {
			if now != nil {
				now.Close()
			}
			return nil, nil, err
		}
		if now == nil || old == nil || !sameFile(old, now) {
			return old, now, nil
		}
		now.Close() // rotated in between
		old.Close()
	}
}

// openPlain opens a regular file for reading; nil when there is none.
func openPlain(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// seekBack gives the file to begin in, at its place.
func seekBack(old, now *os.File, back int64) (*os.File, error) {
	for _, f := range []*os.File{now, old} {
		if f == nil {
			continue
		}
		st, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if back <= st.Size() || f == old || old == nil {
			_, err := f.Seek(max(0, st.Size()-back), io.SeekStart)
			return f, err
		}
		back -= st.Size()
	}
	return nil, nil
}

// ReplayConsole writes all that is kept of what a guest's console said, oldest first. The guest may be stopped.
func (h *Host) ReplayConsole(ctx context.Context, name string, w io.Writer) error {
	h.Status(ctx, []string{name}) // one that ended unseen still has output to harvest
	if err := h.Harvest(name); err != nil {
		return err
	}
	old, now, err := h.openConsoleLogs(name)
	if err != nil {
		return err
	}
	for _, f := range []*os.File{old, now} {
		if f == nil {
			continue
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, io.LimitReader(f, st.Size())); err != nil { // as it is now: a guest may write faster than we
			return fmt.Errorf("print the console's log: %w", err)
		}
	}
	return nil
}

// maxRunBack bounds how far followRun looks back, in bytes.
const maxRunBack = 1 << 20

// followRun begins at the start of the present run's output, as far as that is kept and within its last MiB.
func (h *Host) followRun(ctx context.Context, name string) (*ConsoleReader, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// The cursor counts this run's bytes; nobody may move it before the log is open.
	l, err := flock.Wait(ctx, h.run(name, harvestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("read the console's log: %w", err)
	}
	defer l.Unlock()
	if err := h.harvest(name); err != nil {
		return nil, err
	}
	c := h.loadCursor(name)
	r := &ConsoleReader{h: h, name: name, buf: make([]byte, readerChunk)}
	old, now, err := h.openConsoleLogs(name)
	if err != nil {
		return nil, err
	}
	// Not more than one harvest surely keeps: beyond that may lie an earlier run.
	r.f, err = seekBack(old, now, min(c.Console, maxRunBack, int64(h.ConsoleSize)/2))
	for _, f := range []*os.File{old, now} {
		if f != nil && f != r.f {
			f.Close()
		}
	}
	return r, err
}

// loadCursor reads how far this run was harvested; nothing yet, or damage, is the beginning.
func (h *Host) loadCursor(name string) (c cursor) {
	if b, err := smallfile.Read(h.run(name, cursorName), maxState); err == nil {
		_ = json.Unmarshal(b, &c)
	}
	return c
}
