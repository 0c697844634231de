package vm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/units"
)

// Fact is one line of a guest's history.
type Fact struct {
	V       int             `json:"v"`
	Time    time.Time       `json:"time"`
	Run     string          `json:"run,omitempty"` // the run of the guest that it belongs to
	Kind    FactKind        `json:"kind"`
	Event   string          `json:"event,omitempty"`   // QMP event, for KindEvent
	Data    json.RawMessage `json:"data,omitempty"`    // of the event
	Count   int             `json:"count,omitempty"`   // > 1: the same event so many times in a row, the last one at Until
	Until   *time.Time      `json:"until,omitempty"`   //
	Noticed *time.Time      `json:"noticed,omitempty"` // for KindEnd: when kvmctl saw what had happened at Time
	Offset  int64           `json:"offset,omitempty"`  // end of the event in the recorder's file: the harvest goes on behind it
	Reason  string          `json:"reason,omitempty"`  // what people read
	State   StateWord       `json:"state,omitempty"`   // for KindEnd: stopped or crashed
	PID     int             `json:"pid,omitempty"`
	By      string          `json:"by,omitempty"`      // who asked, for start and stop
	Boot    string          `json:"boot,omitempty"`    // host's boot id, for start
	Request string          `json:"request,omitempty"` // that was answered, for fence
}

// FactKind says what a Fact is about.
type FactKind string

// The kinds of facts.
const (
	KindStart   FactKind = "start"   // QEMU was let go
	KindEvent   FactKind = "event"   // QEMU said so, in the flight recorder
	KindLogFull FactKind = "logfull" // events are missing from here on: the recorder had no room
	KindStop    FactKind = "stop"    // kvmctl asked for the end
	KindEnd     FactKind = "end"     // QEMU is gone
	KindHook    FactKind = "hook"    // a hook said something or failed
	KindFail    FactKind = "fail"    // a start, by nobody at a terminal, that came to nothing
	KindNote    FactKind = "note"
	KindInstall FactKind = "install" // the run boots a CD first, once
	KindSave    FactKind = "save"    // the guest is in a file, and its QEMU has given it up
	KindPause   FactKind = "pause"   // a person stopped its CPUs
	KindResume  FactKind = "resume"  // a person let them go on
	KindReset   FactKind = "reset"   // a person pressed the reset button
	KindFence   FactKind = "fence"   // its HA peer goes on without it; with a PID that QEMU was sent SIGKILL for that
	KindUnhold  FactKind = "unhold"  // it may run again
)

const factVersion = 1

// maxFact bounds a line of the history; a longer one is passed over.
const maxFact = 64 << 10

// appendFacts adds lines to a guest's history, rotating it when it outgrows half of limit. They are durable when it returns if sync.
func (l Layout) appendFacts(name string, limit units.Size, sync bool, facts ...Fact) error {
	if len(facts) == 0 {
		return nil
	}
	// Starts and stops write under the guest's lock, harvests under another: two that rotate at once would lose a half.
	dir, err := lockDir(l.GuestLibDir(name))
	if err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	defer dir.Close()
	most := int64(limit) / 2
	var buf bytes.Buffer
	if cutShort(l.History(name)) {
		buf.WriteByte('\n') // a crash cut the last line: it must not swallow the next
	}
	for _, f := range facts {
		f.V = factVersion
		b, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("write the history: %w", err)
		}
		if buf.Len() > 0 && int64(buf.Len()+len(b)) >= most { // a harvest may bring more than both files hold: the newest stays
			if err := appendRotated(l.History(name), l.HistoryOld(name), most, buf.Bytes(), sync); err != nil {
				return err
			}
			buf.Reset()
		}
		buf.Write(b)
		buf.WriteByte('\n')
	}
	return appendRotated(l.History(name), l.HistoryOld(name), most, buf.Bytes(), sync)
}

// historyWait bounds the waiting for another writer of a history, who needs a write and at most an fsync.
const historyWait = 10 * time.Second

// lockDir locks a directory for one writer; closing it ends the lock.
func lockDir(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(historyWait); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			dir.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

func cutShort(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, st.Size()-1)
	return err == nil && last[0] != '\n'
}

// appendRotated appends to path; when that would outgrow limit, path becomes old first, and what old held is gone.
func appendRotated(path, old string, limit int64, data []byte, sync bool) error {
	st, err := os.Stat(path)
	if err == nil && st.Size() > 0 && st.Size()+int64(len(data)) > limit {
		if err := os.Rename(path, old); err != nil {
			return fmt.Errorf("rotate %s: %w", path, err)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("append to %s: %w", path, err)
	}
	if sync {
		return f.Sync()
	}
	return nil
}

// Log gives a guest's whole kept history, oldest first: an event is written down when it is harvested, which may be long after what
// kvmctl itself did meanwhile. Lines that are damaged are passed over.
func (l Layout) Log(name string) ([]Fact, error) {
	var all []Fact
	for _, path := range []string{l.HistoryOld(name), l.History(name)} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		facts, _, err := readFacts(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, facts...)
	}
	byTime(all)
	return all, nil
}

// recent gives the facts in the last part of the history, over a rotation: enough for a status without reading it all.
func (l Layout) recent(name string, bytes int64) []Fact {
	now, read := tailFacts(l.History(name), bytes, nil)
	if read >= bytes {
		return now
	}
	st, _ := os.Stat(l.History(name))
	old, _ := tailFacts(l.HistoryOld(name), bytes-read, st)
	return append(old, now...)
}

// tailFacts gives the facts in the last part of a file and that part's size. A file that is the same as other has none.
func tailFacts(path string, bytes int64, other fs.FileInfo) ([]Fact, int64) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || other != nil && os.SameFile(st, other) {
		return nil, 0
	}
	part := min(st.Size(), bytes)
	facts, _, _ := readFacts(io.NewSectionReader(f, st.Size()-part, part)) // a first line that is cut is passed over like any damaged one
	return facts, part
}

// readFacts gives the facts in r and how many bytes their lines have: a last line without its end is not among them.
func readFacts(r io.Reader) (facts []Fact, read int64, err error) {
	br := bufio.NewReaderSize(r, maxFact)
	long := false
	part := int64(0) // of a line that is longer than the buffer
	for {
		line, err := br.ReadSlice('\n')
		part += int64(len(line))
		if errors.Is(err, bufio.ErrBufferFull) {
			long = true
			continue
		}
		if errors.Is(err, io.EOF) { // a line without its end is still being written, or was cut by a crash
			return facts, read, nil
		}
		if err != nil {
			return nil, read, err
		}
		read, part = read+part, 0
		if long { // the rest of a line that was too long
			long = false
			continue
		}
		var f Fact
		if json.Unmarshal(line, &f) == nil && f.V == factVersion && f.Kind != "" {
			facts = append(facts, f)
		}
	}
}
