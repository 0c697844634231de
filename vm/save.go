package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// SaveOptions say how to save a guest.
type SaveOptions struct {
	File     string                       // absolute; empty: the guest's own place, where start finds it
	Progress func(done, total units.Size) // total is the most that it can become; may be nil
}

// Saved is what a save did.
type Saved struct {
	File  string
	Size  units.Size
	Took  time.Duration
	Notes []string
}

// UnsavableError says that a guest's state could not be restored later, so that saving it would lose it.
type UnsavableError struct{ Why, hint string }

func (e *UnsavableError) Error() string { return e.Why }

// Hint says what to do.
func (e *UnsavableError) Hint() string { return e.hint }

// Refused marks the error as a refusal for safety.
func (e *UnsavableError) Refused() bool { return true }

// NoSpaceError says that a file system has not the room for a guest's memory.
type NoSpaceError struct {
	Dir        string
	Need, Free units.Size
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("%s has %v free, and the guest's memory may need %v", e.Dir, e.Free.Rounded(), e.Need.Rounded())
}

// Hint says what to do.
func (e *NoSpaceError) Hint() string {
	return "make room, or save to a file elsewhere: kvmctl save <vm> FILE"
}

// Save writes what a running guest is doing, its memory and its devices, to a file and ends its QEMU. The guest runs on until the file is
// complete; whatever fails or dies before leaves it running, and no file.
func (h *Host) Save(ctx context.Context, spec *Spec, o SaveOptions) (*Saved, error) {
	g, err := h.lock(ctx, spec.Name, "save", lockWait)
	if err != nil {
		return nil, err
	}
	defer g.unlock()
	p, err := h.settle(ctx, spec.Name)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, ErrNotRunning
	}
	defer p.Close()
	s := &saving{h: h, spec: spec, p: p, o: o, g: g, began: time.Now()}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.write(ctx); err != nil {
		return nil, err
	}
	// The guest is in the file now and nowhere else: nothing may stop us from here on, and what does is made up for by the next command.
	ctx = context.WithoutCancel(ctx)
	if err := h.finishSave(ctx, spec.Name, p, s.plan); err != nil {
		return nil, err
	}
	done := &Saved{File: s.plan.File, Size: units.Size(s.size), Took: time.Since(s.began)}
	if done.Notes, err = h.payHooks(ctx, spec.Name); err != nil {
		done.Notes = append(done.Notes, err.Error()) // the guest is saved: that is what was asked for; the next command pays the rest
	}
	return done, nil
}

// saving is a save under way.
type saving struct {
	h      *Host
	spec   *Spec
	p      *Process
	o      SaveOptions
	g      *guestLock
	began  time.Time
	plan   savePlan
	header SavedHeader
	files  []string
	limit  units.Size
	size   int64
}

// write brings the guest into the unfinished file, up to the moment where QEMU has given it up.
func (s *saving) write(ctx context.Context) (err error) {
	part, err := openPart(s.plan.part())
	if err != nil {
		return err
	}
	defer part.Unlock()
	if err := s.h.savePlan(s.spec.Name, s.plan); err != nil {
		return err
	}
	failed := true
	defer func() {
		if failed {
			_ = os.Remove(s.plan.part())
			_ = os.Remove(s.h.run(s.spec.Name, savingName))
		}
	}()
	w, err := newSavedWriter(part.File())
	if err != nil {
		return err
	}
	s.h.step("file")
	conn, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		conn.Close()
		if failed { // QEMU takes a moment to see that and to let the guest go on
			s.settleBack()
		}
	}()
	s.h.step("begun")
	last := -1
	progress := func(done units.Size) {
		if s.o.Progress != nil {
			s.o.Progress(done, max(done, s.limit))
		}
		if percent := int(100 * done / max(1, done, s.limit)); percent != last {
			last = percent
			s.g.note(fmt.Sprintf("%d%%", percent))
		}
	}
	complete := func() error {
		// QEMU has let go of the disks by now: bdrv_inactivate_all comes before the end of the stream.
		if s.header.Disks, err = stateOfDisks(s.files); err != nil {
			return err
		}
		s.header.Time = time.Now()
		if err := w.finish(s.header); err != nil {
			return err
		}
		s.h.step("complete")
		return nil
	}
	told, err := receive(ctx, conn, w, complete, progress)
	if err != nil && !told {
		return noSpace(err, s.plan.File)
	}
	if end := s.h.migrationEnd(context.WithoutCancel(ctx), s.spec.Name); end != nil {
		failed = errors.As(end, new(*GaveUpError)) // else nobody knows where the guest is: the next command finds out
		return errors.Join(err, end)
	}
	if err != nil { // QEMU has given the guest up, and its file is not whole: it stays where it is, and resume lets it go on
		return noSpace(err, s.plan.File)
	}
	s.size = savedStart + w.size
	failed = false
	s.h.step("given up")
	return nil
}

// noSpace gives a full disk better words.
func noSpace(err error, file string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w; the guest runs on, and %s was not made", err, file)
	}
	return err
}

// begin starts the migration and gives our end of it. QEMU measures for a tenth of a second how fast it goes; then the guest stands still
// and all the rest is sent once: a guest that is busy cannot make it longer.
func (s *saving) begin(ctx context.Context) (*net.UnixConn, error) {
	c, closeMonitor, err := s.h.Monitor(ctx, s.spec.Name)
	if err != nil {
		return nil, err
	}
	defer closeMonitor()
	if err := setReturnPath(ctx, c, true); err != nil {
		return nil, err
	}
	unbounded := map[string]any{"max-bandwidth": int64(1) << 50, "downtime-limit": 2_000_000} // bytes/s; the most milliseconds there are
	if err := c.Execute(ctx, "migrate-set-parameters", unbounded, nil); err != nil {
		return nil, err
	}
	conn, err := migrationSocket(ctx, c, "kvmctl-save")
	if err != nil {
		return nil, err
	}
	if err := c.Execute(ctx, "migrate", map[string]any{"uri": "fd:kvmctl-save"}, nil); err != nil {
		conn.Close()
		return nil, fmt.Errorf("begin to save: %w", err)
	}
	return conn, nil
}

// backTime is how long QEMU may take to notice that nobody takes the guest, and to let it go on: some milliseconds.
const backTime = 5 * time.Second

// settleBack waits until QEMU has taken the guest back, and leaves it as it was.
func (s *saving) settleBack() {
	ctx, cancel := context.WithTimeout(context.Background(), backTime)
	defer cancel()
	for s.h.migrates(ctx, s.spec.Name) && ctx.Err() == nil {
		pause(ctx, 5*time.Millisecond)
	}
	if c, closeMonitor, err := s.h.Monitor(ctx, s.spec.Name); err == nil {
		defer closeMonitor()
		_ = setReturnPath(ctx, c, false) // nobody else migrates it by now
	}
}
