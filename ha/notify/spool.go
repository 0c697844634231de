package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
)

// maxWaiting bounds what waits for one voice: at a mail every few seconds, the most that damping lets through, that is an hour.
const maxWaiting = 1000

// spool is what waits for one voice: a directory with a file a message, named so that the oldest comes first. What cannot be written waits in
// memory. Used by two goroutines: who adds, and who delivers.
type spool struct {
	dir string

	mu      sync.Mutex
	memory  []Message // newer than all on disk, oldest first
	dropped int       // for which there was no room, and that no delivered message has told of
}

var spoolName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{20}-[0-9]{6}\.json$`) })

// droppedName holds how many were dropped.
const droppedName = "dropped"

func openSpool(dir string) (*spool, error) {
	s := &spool{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, fmt.Errorf("make the spool: %w", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".tmp-*")); err == nil { // of a write that was killed
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
	if b, err := readSmall(filepath.Join(dir, droppedName), 32); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n > 0 {
			s.dropped = n
		}
	}
	return s, nil
}

// add keeps a message, on disk if that has room. The oldest goes when there are too many. The error says that it waits in memory only.
func (s *spool) add(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = append(s.memory, m)
	return s.settle()
}

// settle writes what waits in memory, and keeps the bound.
func (s *spool) settle() (err error) {
	for len(s.memory) > 0 && err == nil {
		if err = s.write(s.memory[0]); err == nil {
			s.memory = s.memory[1:]
		}
	}
	names, lerr := s.names()
	err = errors.Join(err, lerr)
	for over := len(names) + len(s.memory) - maxWaiting; over > 0; over-- {
		if len(names) > 0 {
			if rerr := os.Remove(filepath.Join(s.dir, names[0])); rerr != nil {
				err = errors.Join(err, fmt.Errorf("drop the oldest message: %w", rerr))
			}
			names = names[1:]
		} else {
			s.memory = s.memory[1:]
		}
		s.setDropped(s.dropped + 1)
	}
	return err
}

func (s *spool) write(m Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("keep a message: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(s.dir, m.ID+".json"), b, 0o600); err != nil {
		return fmt.Errorf("keep a message: %w", err)
	}
	return nil
}

// names lists what is on disk, oldest first.
func (s *spool) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list the spool: %w", err)
	}
	var names []string
	for _, e := range entries {
		if spoolName().MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// oldest gives the message that is next, with the number of those that were dropped. What is no message is dropped, too.
func (s *spool) oldest() (m Message, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.settle() // add has said what is wrong
	names, err := s.names()
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		b, rerr := readSmall(path, maxMessage)
		if errors.Is(rerr, fs.ErrNotExist) {
			continue
		}
		m, perr := parseMessage(b)
		if rerr == nil && perr == nil && m.ID+".json" == name {
			m.Dropped = s.dropped
			return m, true, err
		}
		err = errors.Join(err, fmt.Errorf("read %s: %w", path, errors.Join(rerr, perr)), os.Remove(path))
		s.setDropped(s.dropped + 1)
	}
	if len(s.memory) == 0 {
		return Message{}, false, err
	}
	m = s.memory[0]
	m.Dropped = s.dropped
	return m, true, err
}

// done forgets a message that was delivered.
func (s *spool) done(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = slices.DeleteFunc(s.memory, func(x Message) bool { return x.ID == m.ID })
	if m.Dropped > 0 {
		s.setDropped(max(0, s.dropped-m.Dropped))
	}
	if err := os.Remove(filepath.Join(s.dir, m.ID+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget a message: %w", err)
	}
	return nil
}

// setDropped remembers the count as well as the disk allows.
func (s *spool) setDropped(n int) {
	s.dropped = n
	_ = atomicfile.WriteVolatile(filepath.Join(s.dir, droppedName), []byte(strconv.Itoa(n)+"\n"), 0o600)
}

// readSmall reads a regular file of bounded size.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
