package qmp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The bounds of reading a flight recorder's file. QEMU's events are 80 to 130 bytes.
const (
	maxLogLine    = 64 << 10
	maxLogEntries = 1 << 16
)

// LogEntry is one event of a flight recorder's file.
type LogEntry struct {
	Offset int64 // of the line's first byte
	End    int64 // of the byte behind its end of line: all before it has been read
	Event  Event
}

// LogReport says what a scan met beside events. Offsets are from the start of the file.
type LogReport struct {
	End       int64 // behind the last whole line: the next scan starts here, and all before may be punched out
	Greetings int   // how often QEMU greeted: one for each negotiation
	Holes     int64 // NUL bytes skipped
	Garbage   int   // lines skipped because they are nothing of QMP, or too long
	Torn      int   // whole lines found behind the beginning of another one: the log was full there, events are missing
	Cut       int64 // bytes of a last line without an end: QEMU died while it wrote, or the log is full; 0: the last line is whole
	More      bool  // ParseLog stopped at its bound; go on at End
}

// LogScanner reads the events of a flight recorder's file one by one. It holds one line at most, and takes any bytes.
type LogScanner struct {
	br     *bufio.Reader
	at     int64 // of the next byte
	entry  LogEntry
	report LogReport
	err    error
}

// NewLogScanner reads from r, whose first byte is at offset in the file.
func NewLogScanner(r io.Reader, offset int64) *LogScanner {
	return &LogScanner{br: bufio.NewReaderSize(r, 32<<10), at: offset, report: LogReport{End: offset}}
}

// ParseLog collects the events of r, whose first byte is at offset in the file: at most 65,536; LogReport.More says that there are more. The error is r's.
func ParseLog(r io.Reader, offset int64) ([]LogEntry, LogReport, error) {
	s := NewLogScanner(r, offset)
	var entries []LogEntry
	for s.Scan() {
		entries = append(entries, s.Entry())
		if len(entries) == maxLogEntries {
			_, err := s.br.Peek(1)
			s.report.More = err == nil
			break
		}
	}
	return entries, s.Report(), s.Err()
}

// LogStart is the offset of the first byte at or after from that is not in a hole, or the size of the file. A harvested log
// grows for ever at its end while its front is punched out; reading the hole would cost time for each byte ever written.
func LogStart(f *os.File, from int64) (int64, error) {
	off, err := unix.Seek(int(f.Fd()), from, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // no data from there on
		st, err := f.Stat()
		if err != nil {
			return 0, err
		}
		return st.Size(), nil
	}
	if err != nil {
		return 0, &os.PathError{Op: "seek data in", Path: f.Name(), Err: err}
	}
	return off, nil
}

// Entry is the event that Scan found.
func (s *LogScanner) Entry() LogEntry { return s.entry }

// Report says what was met so far.
func (s *LogScanner) Report() LogReport { return s.report }

// Err is the reader's error, if it was not the end of the file.
func (s *LogScanner) Err() error { return s.err }

// Scan goes to the next event; false at the end or at an error of the reader.
func (s *LogScanner) Scan() bool {
	for s.err == nil {
		if !s.skipHole() {
			return false
		}
		start := s.at
		line, whole := s.line()
		if !whole {
			if s.err == nil {
				s.report.Cut = s.at - start
			}
			return false
		}
		s.report.End = s.at
		if e, skipped := s.classify(line); e != nil {
			s.entry = LogEntry{Offset: start + int64(skipped), End: s.at, Event: *e}
			return true
		}
	}
	return false
}

// skipHole passes NULs at the start of a line. False: nothing is left.
func (s *LogScanner) skipHole() bool {
	for {
		b, err := s.br.Peek(1)
		if err != nil {
			s.fail(err)
			return false
		}
		if b[0] != 0 {
			return true
		}
		buf, _ := s.br.Peek(s.br.Buffered())
		n := len(buf) - len(bytes.TrimLeft(buf, "\x00"))
		_, _ = s.br.Discard(n) // they are buffered
		s.at += int64(n)
		s.report.Holes += int64(n)
		s.report.End = s.at
	}
}

// line returns the next line, or nil where it is too long, and whether it has an end.
func (s *LogScanner) line() (line []byte, whole bool) {
	long := false
	for {
		part, err := s.br.ReadSlice('\n')
		s.at += int64(len(part))
		if long = long || len(line)+len(part) > maxLogLine; long {
			line = nil
		} else {
			line = append(line, part...)
		}
		if err == nil {
			return bytes.TrimRight(line, "\r\n"), true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			s.fail(err)
			return nil, false
		}
	}
}

func (s *LogScanner) fail(err error) {
	if !errors.Is(err, io.EOF) {
		s.err = err
	}
}

// lineStarts are how QEMU begins its lines; within a JSON string the quote would be escaped.
var lineStarts = [][]byte{[]byte(`{"timestamp": {`), []byte(`{"QMP": {`), []byte(`{"return": `)}

// classify counts a line, and returns the event in it and how many bytes stood before it.
func (s *LogScanner) classify(line []byte) (*Event, int) {
	m, err := decode(line)
	skipped := 0
	if err != nil {
		// A full log keeps the beginning of a line, and what is written after room was made follows it directly.
		for _, start := range lineStarts {
			skipped = max(skipped, bytes.LastIndex(line, start))
		}
		if skipped > 0 {
			m, err = decode(line[skipped:])
		}
		if err != nil {
			s.report.Garbage++
			return nil, 0
		}
		s.report.Torn++
	}
	if m.greeting != nil {
		s.report.Greetings++
	}
	return m.event, skipped
}
