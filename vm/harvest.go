package vm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/flock"
	"kvmctl/vm/qmp"
)

// cursor remembers how far the two logs of a running guest were moved to /var/lib.
type cursor struct {
	Events  int64 `json:"events"`
	Console int64 `json:"console"`
	LetGo   bool  `json:"let_go"` // the recorder had a RESUME: the guest ran
	Runs    bool  `json:"runs"`   // the last that was said of it is RESUME
	Lost    bool  `json:"lost"`   // events are missing: Runs may be old
}

// Harvest moves what is new in a guest's recorder and console into its history and console log, and gives the room back by punching holes.
// Every command that meets a guest does so; when two meet it at once, one does.
func (h *Host) Harvest(name string) error {
	_, err := h.harvested(name)
	return err
}

// harvested is Harvest, and tells how far the guest's logs are harvested then, by us or by another kvmctl.
func (h *Host) harvested(name string) (cursor, error) {
	c := h.loadCursor(name)
	if !h.news(name, c) {
		return c, nil
	}
	err := h.tryHarvest(name)
	return h.loadCursor(name), err
}

func (h *Host) tryHarvest(name string) error {
	l, err := flock.TryLock(h.run(name, harvestName))
	if errors.Is(err, flock.ErrLocked) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Unlock()
	return h.harvest(name)
}

// harvestNow is Harvest that waits for its turn: at a guest's end nothing may be left behind.
func (h *Host) harvestNow(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	l, err := flock.Wait(ctx, h.run(name, harvestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("harvest the logs: %w", err)
	}
	defer l.Unlock()
	return h.harvest(name)
}

func (h *Host) harvest(name string) error {
	c := h.loadCursor(name) // damaged: begin at 0; holes read as nothing
	if !h.news(name, c) {
		return nil
	}
	before := c
	run := ""
	if st, err := h.loadState(name); err == nil {
		run = st.Run
	}
	err := errors.Join(h.trimStderr(name), h.harvestEvents(name, run, &c), h.harvestConsole(name, &c))
	if c != before {
		b, merr := json.Marshal(c)
		err = errors.Join(err, merr, atomicfile.WriteVolatile(h.run(name, cursorName), b, 0o600))
	}
	return err
}

// news tells whether a log has grown since the cursor, or has no room to.
func (h *Host) news(name string, c cursor) bool {
	for path, at := range map[string]int64{h.run(name, recDirName, eventsName): c.Events, h.ConsoleLive(name): c.Console} {
		var st unix.Stat_t
		var fsys unix.Statfs_t
		if unix.Stat(path, &st) != nil || unix.Statfs(path, &fsys) != nil || st.Size != at || fsys.Bfree == 0 {
			return true
		}
	}
	return false
}

// maxHarvest bounds what is read at once; the tmpfs bounds it before.
const maxHarvest = 64 << 20

// harvestEvents moves whole lines; a line still being written waits for the next time.
func (h *Host) harvestEvents(name, run string, c *cursor) error {
	f, _, err := openLog(h.run(name, recDirName, eventsName))
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	start, err := qmp.LogStart(f, c.Events)
	if err != nil {
		return err
	}
	// A kvmctl that was killed between history and cursor left facts that are there already.
	noted := int64(-1)
	var facts []Fact
	torn := false
	for more := true; more; {
		entries, report, err := qmp.ParseLog(io.NewSectionReader(f, start, maxHarvest), start)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		if len(entries) > 0 && noted < 0 {
			noted = h.notedUpTo(name, run)
		}
		for _, e := range entries {
			switch e.Event.Name {
			case "RESUME":
				c.LetGo, c.Runs = true, true
			case "STOP", "SHUTDOWN", "GUEST_PANICKED", "SUSPEND":
				c.Runs = false
			}
			if e.End > noted {
				facts = fold(facts, Fact{Time: e.Event.Time, Run: run, Kind: KindEvent, Event: e.Event.Name, Data: e.Event.Data, Offset: e.End})
			}
		}
		more, torn, start = report.More, torn || report.Torn > 0, report.End
	}
	h.step("events read")
	if err := h.appendFacts(name, h.HistorySize, false, facts...); err != nil {
		return err
	}
	// Asked as late as can be: a log that fills up while we read and write loses events, too, and the room we make next hides that.
	if torn || noRoom(f) {
		c.Lost = true
		lost := Fact{Time: time.Now(), Run: run, Kind: KindLogFull, Reason: "the recorder was full: events are missing"}
		if err := h.appendFacts(name, h.HistorySize, false, lost); err != nil {
			return err
		}
	}
	c.Events = start
	return punch(f, c.Events)
}

// letGo asks the recorder whether a guest ever ran: its starter may have been killed right after.
// An error is no answer: a guest that may run is never taken for one that does not.
func (h *Host) letGo(name string) (bool, error) {
	if err := h.harvestNow(name); err != nil {
		return false, err
	}
	return h.loadCursor(name).LetGo, nil
}

// fold adds a fact, counting repeats of the last one instead of listing them.
func fold(facts []Fact, f Fact) []Fact {
	if n := len(facts); n > 0 {
		last := &facts[n-1]
		if last.Kind == f.Kind && last.Event == f.Event && string(last.Data) == string(f.Data) {
			last.Count = max(last.Count, 1) + 1
			until := f.Time
			last.Until, last.Offset = &until, f.Offset
			return facts
		}
	}
	return append(facts, f)
}

// notedUpTo gives the recorder's offset behind the last event of this run that the history holds.
func (h *Host) notedUpTo(name, run string) int64 {
	var at int64
	for _, f := range h.recent(name, 2*maxFact) {
		if f.Run == run && f.Kind == KindEvent {
			at = max(at, f.Offset)
		}
	}
	return at
}

func (h *Host) harvestConsole(name string, c *cursor) error {
	f, full, err := openLog(h.ConsoleLive(name))
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	start, err := qmp.LogStart(f, c.Console)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.NewSectionReader(f, start, maxHarvest))
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Name(), err)
	}
	lost := c.Console == 0 // or the beginning
	c.Console = start + int64(len(data))
	if lost {
		data = bytes.TrimLeft(data, "\x00") // what was harvested is a hole, up to the middle of a page
	}
	if full && len(data) > 0 {
		data = append(data, "\r\n[kvmctl: the console's log was full here: output is missing]\r\n"...)
	}
	if limit := int64(h.ConsoleSize) / 2; len(data) > 0 {
		tail := data[max(0, int64(len(data))-limit):]
		if err := appendRotated(h.ConsoleLog(name), h.ConsoleLogOld(name), limit, tail, false); err != nil {
			return err
		}
	}
	return punch(f, c.Console)
}

// Of QEMU's stderr, which shares the console's tmpfs and a guest can make grow by failing devices, so much is kept.
const (
	maxStderr  = 64 << 10
	keepStderr = 16 << 10
)

// trimStderr gives back the room of what QEMU said long ago.
func (h *Host) trimStderr(name string) error {
	f, _, err := openLog(h.run(name, conDirName, stderrName))
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 <= maxStderr {
		return err
	}
	return punch(f, st.Size-keepStderr)
}

// openLog opens a log that QEMU writes. full says that its tmpfs has no room left, so that QEMU loses what it writes now; f is nil
// when there is no log.
func openLog(path string) (f *os.File, full bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return f, noRoom(f), nil
}

// noRoom reports whether a log's tmpfs is full, so that QEMU loses what it writes now. Only we make room.
func noRoom(f *os.File) bool {
	var fsys unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fsys) == nil && fsys.Bfree == 0
}

// punch gives the room before upTo back. The file keeps its size: QEMU appends on.
func punch(f *os.File, upTo int64) error {
	if upTo == 0 {
		return nil
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, upTo)
	if err != nil {
		return fmt.Errorf("free the harvested part of %s: %w", f.Name(), err)
	}
	return nil
}

// bury notes how a guest ended and clears its run directory away. The caller holds the guest's lock and has proved that no QEMU is left.
func (h *Host) bury(name string, unfinished bool) error {
	if err := h.harvestNow(name); err != nil {
		return err
	}
	facts := h.recent(name, 1<<20)
	st, err := h.loadState(name)
	if err != nil { // it never came to a run
		return h.removeRunDir(name)
	}
	run, end := factsOf(facts, st.Run)
	if end == nil && len(run) > 0 { // without a fact QEMU was never executed
		state, reason := Ended(run, st.Boot == bootID())
		if unfinished {
			state, reason = h.notStarted(name, "its start was interrupted before it ran")
		}
		now := time.Now()
		fact := Fact{Time: now, Run: st.Run, Kind: KindEnd, State: state, Reason: reason}
		if at := cmp.Or(endTime(run), fenceTime(run)); !at.IsZero() {
			fact.Time, fact.Noticed = at, &now
		}
		if err := h.appendFacts(name, h.HistorySize, false, fact); err != nil {
			return err
		}
	}
	h.keepRecord(name)
	return h.removeRunDir(name)
}

// fenceTime is when a run's QEMU was killed for its HA peer; zero when it was not.
func fenceTime(run []Fact) (t time.Time) {
	for _, f := range run {
		if f.Kind == KindFence {
			t = f.Time
		}
	}
	return t
}

// endTime is when QEMU said that it shuts down; zero when it did not.
func endTime(run []Fact) (t time.Time) {
	for _, f := range run {
		if f.Kind == KindEvent && f.Event == "SHUTDOWN" {
			t = f.Time
		}
	}
	return t
}
