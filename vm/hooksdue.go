package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
)

// hooksDue is what the end of a run owes to hooks. It is on disk from before the start's first hook until the last hook after the end has
// run, so that whoever takes the guest's lock next pays: once, whoever comes first. A hook is struck out when it has ended, well or not; a
// kvmctl that is killed in the middle of one takes it with it, and the next begins that hook again. So each runs at least once, and more
// than once only where kvmctl was killed meanwhile. The paths are those of the start: what a guest's file says later counts from its next
// start on, and a file that is broken or gone takes no hook away.
type hooksDue struct {
	Version int       `json:"version"`
	Run     string    `json:"run"`
	Boot    string    `json:"boot"`
	Calls   []hookDue `json:"calls"` // in order
}

// hookDue is one hook after the end.
type hookDue struct {
	hookCall
	Prepared bool `json:"prepared,omitempty"` // its pre_start ran: it is owed even if the guest never came to run
}

const dueVersion = 1

// maxDue bounds the file, in bytes, and maxDueCalls its list; a real one has four at most.
const (
	maxDue      = 64 << 10
	maxDueCalls = 8
)

// hookEnd is an end as its hooks see it.
type hookEnd struct {
	news    hookNews
	ran     bool // the guest was let go
	crashed bool // nobody asked for that end, and the guest did not shut down
}

// owed gives what an end owes of what is due.
func (d *hooksDue) owed(end hookEnd) []hookDue {
	var all []hookDue
	for _, c := range d.Calls {
		if (end.ran || c.Prepared) && (c.Hook != hookOnCrash || end.crashed) {
			all = append(all, c)
		}
	}
	return all
}

// hookEndOf decides from what the history holds of a run, and its end, what the hooks are told.
func hookEndOf(run []Fact, end *Fact, sameBoot bool) hookEnd {
	e := hookEnd{news: hookNews{State: StateStopped, Reason: "its start failed or was interrupted"}}
	for _, f := range run {
		switch {
		case f.Kind == KindStart:
			e.news.PID = f.PID
		case f.Kind == KindEvent && f.Event == "RESUME":
			e.ran = true
		}
	}
	if len(run) > 0 && (run[0].Kind != KindStart || !sameBoot) { // its beginning was rotated away; or what its recorder said went with the host
		e.ran = true
	}
	switch {
	case end != nil:
		e.news.State, e.news.Reason = end.State, end.Reason
	case e.ran:
		e.news.State, e.news.Reason = Ended(run, sameBoot)
	}
	e.crashed = e.ran && (e.news.State == StateCrashed || panicked(run))
	if e.crashed {
		e.news.State = StateCrashed
	}
	return e
}

// panicked reports that the guest's own crash, or an error of the host's, ended the run.
func panicked(run []Fact) bool {
	var s shutdown
	for _, f := range run {
		if f.Kind == KindEvent && f.Event == "SHUTDOWN" {
			_ = json.Unmarshal(f.Data, &s) // else it tells nothing
		}
	}
	return s.Reason == "guest-panic" || s.Reason == "host-error"
}

// oweHooks writes down what the end of a run that begins now will owe. Without a hook for the end there is no file.
func (h *Host) oweHooks(spec *Spec, run string) error {
	d := hooksDue{Version: dueVersion, Run: run, Boot: bootID()}
	for _, which := range []hook{hookOnCrash, hookPostStop} {
		for _, c := range h.calls(spec.Hooks, which) {
			own := &spec.Hooks
			if c.Host {
				own = &h.Hooks
			}
			d.Calls = append(d.Calls, hookDue{c, own.PreStart != ""})
		}
	}
	if len(d.Calls) == 0 {
		return nil
	}
	return h.saveDue(spec.Name, &d)
}

// refusedBy forgets what is owed to those whose pre_start did not say yes: there is nothing for them to take down.
func (h *Host) refusedBy(name string, c hookCall) error {
	d, err := h.loadDue(name)
	if d == nil || err != nil {
		return err
	}
	var left []hookDue
	for _, x := range d.Calls {
		if x.Host && !c.Host { // the host's came first, and let it pass
			left = append(left, x)
		}
	}
	d.Calls = left
	return h.saveDue(name, d)
}

// payHooks runs what a guest's last end owes. The caller holds the guest's lock and has proved that no QEMU is left. The notes tell which
// hooks failed; the error, that they could not be run through: then the rest stays due.
func (h *Host) payHooks(ctx context.Context, name string) (notes []string, err error) {
	d, err := h.loadDue(name)
	if d == nil || err != nil {
		return nil, err
	}
	run, end := factsOf(h.recent(name, 1<<20), d.Run)
	e := hookEndOf(run, end, d.Boot == bootID())
	d.Calls = d.owed(e)
	for len(d.Calls) > 0 {
		if err := h.runHook(ctx, name, d.Calls[0].hookCall, e.news); err != nil {
			if ctx.Err() != nil {
				return notes, fmt.Errorf("run the hooks of its end: %w", context.Cause(ctx))
			}
			notes = append(notes, err.Error())
		}
		d.Calls = d.Calls[1:]
		if err := h.saveDue(name, d); err != nil {
			return notes, err
		}
	}
	return notes, h.saveDue(name, d)
}

// Notice clears a guest away that ended unseen and runs what its end owes to hooks; a guest that runs is left alone. The notes tell which
// hooks failed.
func (h *Host) Notice(ctx context.Context, name string) (notes []string, err error) {
	g, err := h.lock(ctx, name, "ended", lockWait)
	if err != nil {
		return nil, err
	}
	defer g.unlock()
	p, err := h.settle(ctx, name)
	if err != nil {
		return nil, err
	}
	if p != nil {
		p.Close()
		return nil, nil
	}
	return h.payHooks(ctx, name)
}

// HooksOwed tells whether hooks of an end, or of a run that goes on, are written down.
func (l Layout) HooksOwed(name string) bool { return !absent(l.HooksDue(name)) }

// saveDue writes what is due, or removes the file when nothing is.
func (l Layout) saveDue(name string, d *hooksDue) error {
	path := l.HooksDue(name)
	if len(d.Calls) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("strike out the hooks that ran: %w", err)
		}
		return nil
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write down the hooks of its end: %w", err)
	}
	return nil
}

// loadDue reads what is due; nil: nothing.
func (l Layout) loadDue(name string) (*hooksDue, error) {
	path := l.HooksDue(name)
	b, err := smallfile.Read(path, maxDue)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, smallfile.ErrTooLong):
		return nil, &DueError{path, fmt.Errorf("more than %d bytes", maxDue)}
	case err != nil:
		return nil, err
	}
	d, err := decodeDue(b)
	if err != nil {
		return nil, &DueError{path, err}
	}
	return d, nil
}

// decodeDue accepts what saveDue writes.
func decodeDue(b []byte) (*hooksDue, error) {
	if len(b) > maxDue {
		return nil, fmt.Errorf("more than %d bytes", maxDue)
	}
	var d hooksDue
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, err
	}
	if d.Version != dueVersion || d.Run == "" || len(d.Calls) == 0 || len(d.Calls) > maxDueCalls {
		return nil, errors.New("not of this version")
	}
	for _, c := range d.Calls {
		if c.Hook != hookOnCrash && c.Hook != hookPostStop || !filepath.IsAbs(c.Path) || strings.ContainsRune(c.Path, 0) || c.Timeout <= 0 {
			return nil, fmt.Errorf("no such hook: %.40q", c.Hook)
		}
	}
	return &d, nil
}

// DueError says that what the last end owes to hooks cannot be read: nobody knows which have run.
type DueError struct {
	Path  string
	cause error
}

func (e *DueError) Error() string {
	return fmt.Sprintf("read which hooks its last end owes: %s: %v", e.Path, e.cause)
}
func (e *DueError) Unwrap() error { return e.cause }

// Hint says how to get past it.
func (e *DueError) Hint() string {
	return "run its post_stop by hand if it matters, then: rm " + e.Path
}
