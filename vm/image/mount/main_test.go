package mount_test

import (
	"bytes"
	"os"
	"sync"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(killAt) != "" {
		doomed(os.Args[1:])
	}
	os.Exit(m.Run())
}

// seen keeps what a program writes, and tells when a word was in it.
type seen struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	word string
	want chan struct{} // closed then
	told bool
}

func (s *seen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(b)
	if !s.told && bytes.Contains(s.buf.Bytes(), []byte(s.word)) {
		s.told = true
		close(s.want)
	}
	return len(b), nil
}

func (s *seen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}
