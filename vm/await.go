package vm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"kvmctl/vm/qmp"
)

// EndedError says that a guest ended while something else was expected of it.
type EndedError struct {
	State  StateWord // stopped or crashed
	Reason string
}

func (e *EndedError) Error() string {
	if e.Reason == "" {
		return "it ended"
	}
	return "it ended: " + e.Reason
}

// InVainError says that the time was over; Last is what was seen last in place of what was waited for.
type InVainError struct {
	Last error
	For  time.Duration
}

func (e *InVainError) Error() string {
	return fmt.Sprintf("waited %v in vain: %v", e.For.Round(100*time.Millisecond), e.Last)
}
func (e *InVainError) Unwrap() error { return e.Last }

// InterruptedError says that the person who asked broke off, by ^C or a signal.
type InterruptedError struct {
	Goes  string // what goes on all the same: "it goes on shutting down"; may be empty
	Cause error  // of the context
}

func (e *InterruptedError) Error() string {
	if e.Goes == "" {
		return "interrupted"
	}
	return "interrupted; " + e.Goes
}
func (e *InterruptedError) Unwrap() error { return e.Cause }

// Hint shows what goes on.
func (e *InterruptedError) Hint() string { return "kvmctl status" }

// Check looks once: nil, it is so; else what is there in its place.
type Check func(ctx context.Context) error

// awaitEvery is how often a Check looks.
const awaitEvery = 200 * time.Millisecond

// checkTime bounds one look.
const checkTime = 3 * time.Second

// errNoAnswer stands for what is not known yet of a guest that runs.
var errNoAnswer = errors.New("it has not answered yet")

// Await waits until check is content with a running guest. A guest that does not run yet is waited for; one that was seen running and ended
// is an EndedError at once. At the deadline of ctx the error is an InVainError.
func (h *Host) Await(ctx context.Context, name string, check Check) error {
	return h.await(ctx, name, "", check)
}

// AwaitRun is Await for a guest that runs already, by State.Run: one that has ended by now is an EndedError, too.
func (h *Host) AwaitRun(ctx context.Context, name, run string, check Check) error {
	return h.await(ctx, name, run, check)
}

func (h *Host) await(ctx context.Context, name, run string, check Check) error {
	began := time.Now()
	var last error = ErrNotRunning
	var p *Process
	for {
		if p == nil {
			var err error
			if p, err = h.owner(name); err != nil && !errors.Is(err, ErrNotRunning) {
				return err
			}
			if p == nil && run != "" {
				return h.EndOf(name, run)
			}
			if p != nil {
				defer p.Close()
				last = errNoAnswer
				if st, err := h.loadState(name); err == nil {
					run = st.Run
				}
			}
		}
		if p != nil {
			if last = look(ctx, check, last); last == nil {
				return nil
			}
			if p.Wait(ctx, awaitEvery) {
				end := h.EndOf(name, run)
				if look(ctx, check, end) == nil { // its last words may have been what we waited for
					return nil
				}
				return end
			}
		} else {
			pause(ctx, awaitEvery)
		}
		if err := over(ctx, last, began); err != nil {
			return err
		}
	}
}

// look checks once; what a check cut short by the end of the wait says is worth less than what the one before it said.
func look(ctx context.Context, check Check, last error) error {
	one, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := check(one)
	if err != nil && ctx.Err() != nil {
		return last
	}
	return err
}

func over(ctx context.Context, last error, began time.Time) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &InVainError{Last: last, For: time.Since(began)}
	case ctx.Err() != nil:
		return &InterruptedError{Cause: ctx.Err()}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// endTimeout is how long EndOf waits for another kvmctl that is at work on the guest, such as the stop that ended it.
const endTimeout = 5 * time.Second

// EndOf tells how a run of a guest ended whose process has gone, and clears it away if nobody did. run is State.Run; "" is the last one.
func (h *Host) EndOf(name, run string) *EndedError {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	h.recordSoon(ctx, name, endTimeout)
	facts := h.recent(name, 1<<20)
	for _, f := range facts {
		if f.Kind == KindEnd && f.Run == run && run != "" {
			return &EndedError{f.State, f.Reason}
		}
	}
	s := h.stoppedStatus(name)
	return &EndedError{s.State, s.Note}
}

// recordSoon notes the end of a guest that ended unseen and clears it away, unless another kvmctl is at work on it for longer than wait.
// Hooks are not run: they are for those who came to change the guest. What it could not do, the next command does.
func (h *Host) recordSoon(ctx context.Context, name string, wait time.Duration) {
	g, err := h.lock(ctx, name, "status", wait)
	if err != nil {
		return
	}
	defer g.unlock()
	if p, err := h.settle(ctx, name); err == nil && p != nil {
		p.Close()
	}
}

// AwaitStopped waits until no QEMU runs for the guest and tells how the run ended that was there; nil when none was.
func (h *Host) AwaitStopped(ctx context.Context, name string) (*EndedError, error) {
	began := time.Now()
	p, err := h.owner(name)
	if errors.Is(err, ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer p.Close()
	run := ""
	if st, err := h.loadState(name); err == nil {
		run = st.Run
	}
	for !p.Wait(ctx, time.Minute) {
		if err := over(ctx, errors.New("it runs"), began); err != nil {
			return nil, err
		}
	}
	return h.EndOf(name, run), nil
}

// CheckRunning is content with a guest whose CPUs run.
func (h *Host) CheckRunning(name string) Check {
	return func(ctx context.Context) error {
		s := h.Status(ctx, []string{name})[0]
		switch {
		case s.State == StateRunning:
			return nil
		case s.Note != "":
			return fmt.Errorf("it is %s: %s", s.State, s.Note)
		}
		return fmt.Errorf("it is %s", s.State)
	}
}

// CheckAgent is content when the guest's agent answers a ping.
func (h *Host) CheckAgent(name string) Check {
	return func(ctx context.Context) error {
		if !h.agentListens(ctx, name) {
			return qmp.ErrNoAgent
		}
		a, closeAgent, err := h.Agent(ctx, name)
		if err != nil {
			return err
		}
		defer closeAgent()
		return a.Ping(ctx)
	}
}

// ConsoleWatch looks for a text in what a guest's console says, from the start of its run on. Close it.
type ConsoleWatch struct {
	h    *Host
	name string
	re   *regexp.Regexp
	r    *ConsoleReader
	text []byte // the end of what was read, without carriage returns
}

// watchWindow bounds how long a match may be, in bytes.
const watchWindow = 64 << 10

// errNotSaid says that the console said other things.
var errNotSaid = errors.New("the console has not said so")

// WatchConsole prepares to look for re.
func (h *Host) WatchConsole(name string, re *regexp.Regexp) *ConsoleWatch {
	return &ConsoleWatch{h: h, name: name, re: re}
}

// Check reads what is new and looks for the text in the last 64 KiB.
func (w *ConsoleWatch) Check(ctx context.Context) (err error) {
	if w.r == nil {
		if w.r, err = w.h.followRun(ctx, w.name); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		b, err := w.r.Next()
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return errNotSaid
		}
		if w.text = appendText(w.text, b); w.re.Match(w.text) {
			return nil
		}
	}
	return errNotSaid
}

// Close ends the watch.
func (w *ConsoleWatch) Close() {
	if w.r != nil {
		w.r.Close()
	}
}

// appendText adds a terminal's output without carriage returns and keeps the last part, from the beginning of a line where there is one:
// a match for ^ must not come from our cutting.
func appendText(text, b []byte) []byte {
	for _, c := range b {
		if c != '\r' {
			text = append(text, c)
		}
	}
	if len(text) <= watchWindow+readerChunk {
		return text
	}
	cut := len(text) - watchWindow
	for i := cut; i < len(text); i++ {
		if text[i-1] == '\n' {
			cut = i
			break
		}
	}
	return append([]byte(nil), text[cut:]...)
}

// Running gives the QEMU of a guest, or ErrNotRunning. The caller closes it.
func (h *Host) Running(name string) (*Process, error) { return h.owner(name) }
