package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the log.
const (
	maxFile = 1 << 20 // bytes; then the file becomes FILE.1, whose place it takes
	waiting = 1024    // entries between the agent's loop and the disk
	atOnce  = 64      // entries of one write: much less than a file may hold
	retry   = 10 * time.Second
)

// Log writes entries. Record never waits; a goroutine of its own (Run) writes.
type Log struct {
	Path    string      // of the file that `kvmha log` reads; FILE.1 is beside it
	Also    Sink        // where each line goes, too; nil: nowhere
	Degrade func(error) // called by Run when writing begins to fail, and with nil when it works again; nil: nobody wants to know

	once sync.Once
	in   chan Entry
	mu   sync.Mutex
	lost int // entries for which there was no room
}

// Sink takes the lines of a system's log.
type Sink interface {
	// Write takes one entry.
	Write(Entry) error
}

func (l *Log) queue() chan Entry {
	l.once.Do(func() { l.in = make(chan Entry, waiting) })
	return l.in
}

// Record takes an entry. It waits for nobody: one that finds no room is counted, and the next line that is written says so.
func (l *Log) Record(e Entry) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	select {
	case l.queue() <- e:
	default:
		l.mu.Lock()
		l.lost++
		l.mu.Unlock()
	}
}

// Run writes until ctx ends, and then what is left. A disk that is full is tried again every 10 s: until then the last 1024 entries are
// kept in memory.
func (l *Log) Run(ctx context.Context) {
	var kept []Entry
	failing := false
	t := time.NewTicker(retry)
	defer t.Stop()
	for {
		ended := false
		select {
		case e := <-l.queue():
			kept = append(kept, e)
		case <-t.C:
		case <-ctx.Done():
			ended = true
		}
		for more := true; more && len(kept) < waiting; { // all that came meanwhile becomes one write
			select {
			case e := <-l.queue():
				kept = append(kept, e)
			default:
				more = false
			}
		}
		if len(kept) > 0 {
			var err error
			for len(kept) > 0 && err == nil {
				some := kept[:min(len(kept), atOnce)]
				if err = l.write(some); err == nil {
					kept = kept[len(some):]
				}
			}
			if l.Degrade != nil && (err != nil || failing) {
				l.Degrade(err)
			}
			failing = err != nil
		}
		if over := len(kept) - waiting; over > 0 {
			kept = kept[over:]
			l.mu.Lock()
			l.lost += over
			l.mu.Unlock()
		}
		if ended {
			return
		}
	}
}

// write appends entries to the file, and gives those to the sink that it has not had.
func (l *Log) write(entries []Entry) error {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	var b bytes.Buffer
	for i, e := range entries {
		if i == 0 && lost > 0 {
			e.Facts = append(e.Facts[:len(e.Facts):len(e.Facts)], fmt.Sprintf("%d records before this one were lost", lost))
		}
		line, err := e.marshal()
		if err != nil {
			return fmt.Errorf("write %s: %w", l.Path, err)
		}
		b.Write(line)
	}
	if err := appendTo(l.Path, b.Bytes()); err != nil {
		return err
	}
	l.mu.Lock()
	l.lost -= lost
	l.mu.Unlock()
	if l.Also == nil {
		return nil
	}
	var errs []error
	for _, e := range entries { // the file has them: a system's log that does not answer is only reported
		errs = append(errs, l.Also.Write(e.bounded()))
	}
	if err := errors.Join(errs...); err != nil && l.Degrade != nil {
		l.Degrade(err)
	}
	return nil
}

// appendTo adds whole lines to the file, or nothing.
func appendTo(path string, lines []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil { // the first start of all
		return fmt.Errorf("make the audit log's directory: %w", err)
	}
	if st, err := os.Lstat(path); err == nil && st.Size()+int64(len(lines)) > maxFile && st.Size() > 0 {
		if err := os.Rename(path, path+".1"); err != nil {
			return fmt.Errorf("rotate %s: %w", path, err)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	defer f.Close()
	end, err := wholeLines(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if _, err = f.WriteAt(lines, end); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), f.Truncate(end))
	}
	if end == 0 { // a new file lasts when its directory does
		d, err := os.Open(filepath.Dir(path))
		if err != nil {
			return fmt.Errorf("sync %s: %w", filepath.Dir(path), err)
		}
		defer d.Close()
		return d.Sync()
	}
	return nil
}

// wholeLines gives where the file's last whole line ends: a crash may have left half of one, over which is written.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4096)
	for at := end; at > 0; {
		n := min(at, int64(len(buf)))
		at -= n
		if _, err := f.ReadAt(buf[:n], at); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return at + int64(i) + 1, f.Truncate(at + int64(i) + 1)
		}
	}
	return 0, f.Truncate(0)
}
