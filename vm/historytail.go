package vm

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// historyTail reads a guest's history from its beginning and then what is appended, over rotations.
type historyTail struct {
	l    Layout
	name string
	f    *os.File
	at   int64
}

// maxRotations bounds how often next goes on in another file: more rotations meanwhile are for the next look.
const maxRotations = 3

// next gives what is new, in the order of time.
func (t *historyTail) next() (facts []Fact, err error) {
	if t.f == nil {
		if err := t.first(); err != nil || t.f == nil {
			return nil, err
		}
	}
	for range maxRotations {
		now, err := os.Stat(t.l.History(t.name)) // before reading: what was appended before a rotation is read, too
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := t.read(&facts); err != nil {
			return nil, err
		}
		mine, err := t.f.Stat()
		if err != nil {
			return nil, err
		}
		if now == nil || os.SameFile(now, mine) {
			break
		}
		if !t.open(t.l.History(t.name)) {
			break
		}
	}
	byTime(facts)
	return facts, nil
}

// first begins with the older half, if there is one.
func (t *historyTail) first() error {
	if t.open(t.l.HistoryOld(t.name)) || t.open(t.l.History(t.name)) {
		return nil
	}
	return nil // none yet
}

// open goes on in another file; false: it is not there, or cannot be opened now.
func (t *historyTail) open(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	t.close()
	t.f, t.at = f, 0
	return true
}

func (t *historyTail) read(facts *[]Fact) error {
	st, err := t.f.Stat()
	if err != nil {
		return err
	}
	if st.Size() < t.at { // cut short by hand: begin again
		t.at = 0
	}
	more, n, err := readFacts(io.NewSectionReader(t.f, t.at, st.Size()-t.at))
	t.at += n
	*facts = append(*facts, more...)
	return err
}

func (t *historyTail) close() {
	if t.f != nil {
		t.f.Close()
		t.f = nil
	}
}
