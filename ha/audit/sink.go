package audit

import (
	"fmt"
	"log/syslog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Syslog is the system's log (syslog(3)), facility daemon. It is connected when it is first needed, and anew after an error.
type Syslog struct{ w *syslog.Writer }

// Write sends the entry's line: a group that gets stuck or waits is a warning, all else a notice.
func (s *Syslog) Write(e Entry) error {
	if s.w == nil {
		w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_NOTICE, "kvmha")
		if err != nil {
			return fmt.Errorf("connect to the system's log: %w", err)
		}
		s.w = w
	}
	write := s.w.Notice
	if e.To == "stuck" || e.To == "waiting" {
		write = s.w.Warning
	}
	if err := write(e.Line()); err != nil {
		s.w.Close()
		s.w = nil
		return fmt.Errorf("write to the system's log: %w", err)
	}
	return nil
}

// File is a text file of one line an entry. It is opened for each, so that whoever rotates it need tell nobody.
type File struct{ Path string }

// Write appends the entry's line.
func (f File) Write(e Entry) error {
	w, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s %s %s\n", e.Time.Format(time.RFC3339), e.Node, e.Line())
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}
