package agentcmd

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// logWaiting is how many lines wait for whoever reads the log. Beyond that they are lost, and counted.
const logWaiting = 4096

// logFlush is how long the end of the agent waits for that reader.
const logFlush = time.Second

// logQueue writes lines beside the one who says them: a pager that is stopped, or a journal that waits for its disk, must hold up neither an
// advert nor the refresh of a lease.
type logQueue struct {
	to    io.Writer
	lines chan []byte
	ended chan struct{}

	mu     sync.Mutex
	lost   int
	closed bool
}

func newLogQueue(to io.Writer) *logQueue {
	q := &logQueue{to: to, lines: make(chan []byte, logWaiting), ended: make(chan struct{})}
	go q.run()
	return q
}

func (q *logQueue) run() {
	defer close(q.ended)
	for line := range q.lines {
		q.mu.Lock()
		lost := q.lost
		q.lost = 0
		q.mu.Unlock()
		if lost > 0 {
			fmt.Fprintf(q.to, "level=WARN msg=\"lines of this log were lost: nobody read them in time\" lost=%d\n", lost)
		}
		_, _ = q.to.Write(line) // there is nobody else to tell
	}
}

// Write takes one line and never waits.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return len(line), nil
	}
	select {
	case q.lines <- append([]byte(nil), line...):
	default:
		q.lost++
	}
	return len(line), nil
}

// Close waits a while until what was said is written.
func (q *logQueue) Close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	select {
	case <-q.ended:
	case <-time.After(logFlush):
	}
}
