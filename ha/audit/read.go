package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Place is how far a log was read. The zero Place is the beginning of one that was not there.
type Place struct {
	file os.FileInfo
	at   int64 // behind the last whole line
}

// Read gives what the log at path holds, oldest first, and where Follow goes on. What is no entry is left out and counted. A log that is not
// there is empty.
func Read(path string) (all []Entry, place Place, bad int, err error) {
	now, is, err := readFile(path) // first: when it is rotated meanwhile it is what is read here, and nothing is missed or told twice
	if err != nil {
		return nil, Place{}, 0, err
	}
	before, was, err := readFile(path + ".1")
	if err != nil {
		return nil, Place{}, 0, err
	}
	if is != nil && was != nil && os.SameFile(is, was) {
		before = nil
	}
	if is == nil && was != nil { // between the two steps of a rotation, or whoever rotated has died there
		is, now, before = was, before, nil
	}
	for _, text := range [][]byte{before, now} {
		some, skipped := ParseAll(text)
		all, bad = append(all, some...), bad+skipped
	}
	return all, Place{is, int64(bytes.LastIndexByte(now, '\n') + 1)}, bad, nil
}

// readFile reads a bounded file, and tells which it is; one that is not there is empty.
func readFile(path string) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read the audit log: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 2*maxFile))
	if err != nil {
		return nil, nil, fmt.Errorf("read the audit log: %w", err)
	}
	return text, st, nil
}

// ParseAll reads the lines of a log; what is no entry is counted.
func ParseAll(text []byte) (all []Entry, bad int) {
	for line := range bytes.Lines(text) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		e, err := parse(line)
		if err != nil {
			bad++
			continue
		}
		all = append(all, e)
	}
	return all, bad
}

// lookEvery is how often Follow looks for more.
const lookEvery = 200 * time.Millisecond

// Follow gives every entry that was written behind from to each, until ctx ends.
func Follow(ctx context.Context, path string, from Place, each func(Entry)) error {
	was, at := from.file, from.at
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("follow the audit log: %w", err)
		}
		if was != nil && !os.SameFile(was, st) { // rotated: first the rest of what was
			if _, err := rest(path+".1", at, each); err != nil {
				return err
			}
			at = 0
		}
		was = st
		if st.Size() == at {
			continue
		}
		if at, err = rest(path, min(at, st.Size()), each); err != nil {
			return err
		}
	}
}

// rest gives the whole lines from at on, and where they end.
func rest(path string, at int64, each func(Entry)) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	if err != nil {
		return at, fmt.Errorf("follow the audit log: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, at, 2*maxFile))
	if err != nil {
		return at, fmt.Errorf("follow the audit log: %w", err)
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	entries, _ := ParseAll(text)
	for _, e := range entries {
		each(e)
	}
	return at + int64(len(text)), nil
}
