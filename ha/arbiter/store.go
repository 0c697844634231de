package arbiter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/flock"
	"kvmctl/internal/smallfile"
)

// Dir is where the records are, below the agent's state directory: one file a group.
const (
	Dir        = "arbiter"
	lockFile   = "lock"
	suffix     = ".json"
	damaged    = ".damaged" // what create keeps of a file that was no record
	tempPrefix = ".tmp-"    // atomicfile's
)

// lockWait is how long another process may hold the records; it does so for one write.
const lockWait = 5 * time.Second

// Group is one whose record is kept.
type Group struct {
	Name    string
	Members []string // names of nodes
}

// Store keeps the records in files. It may be used by several goroutines, and by several processes at once.
type Store struct {
	dir    string
	groups map[string][]string
	turn   chan struct{} // held by who reads and writes: the goroutines of a process wait here, in turn, and one of them at a time for the file's lock
	now    func() time.Time
}

// Open makes the directory, and removes what a write left behind that was cut off. A record that is missing or damaged is no error here: it is
// refused, and told of, when it is asked for.
func Open(ctx context.Context, dir string, groups []Group) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the arbiter's records: %w", err)
	}
	s := &Store{dir: dir, groups: map[string][]string{}, turn: make(chan struct{}, 1), now: now}
	for _, g := range groups {
		s.groups[g.Name] = slices.Clone(g.Members)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("list the arbiter's records: %w", err)
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove what a write left behind: %w", err)
		}
	}
	return s, nil
}

// lock begins a turn of reading and writing.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("lock the arbiter's records: %w", ctx.Err())
	}
	l, err := flock.Wait(ctx, filepath.Join(s.dir, lockFile))
	if err != nil {
		<-s.turn
		return nil, fmt.Errorf("lock the arbiter's records: %w", err)
	}
	return func() { l.Unlock(); <-s.turn }, nil
}

// Groups lists the groups that are declared here, sorted.
func (s *Store) Groups() (names []string) {
	for name := range s.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Close is Keeper's: nothing stays open.
func (s *Store) Close() {}

// Members is Keeper's.
func (s *Store) Members(group string) []string { return slices.Clone(s.groups[group]) }

func (s *Store) path(group string) string { return filepath.Join(s.dir, group+suffix) }

// read gives a group's record, as whole as it is on the disk. It is replaced by rename, so that it needs no lock.
func (s *Store) read(group string) (Record, error) {
	if _, ok := s.groups[group]; !ok {
		return Record{}, refused(WhyNoGroup, "", fmt.Sprintf("this arbiter has no group %q", shown(group)))
	}
	text, err := smallfile.Read(s.path(group), maxRecord)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Record{}, refused(WhyMissing, restoreHint(group), fmt.Sprintf("there is no record of group %s in %s", group, s.dir))
	case errors.Is(err, smallfile.ErrTooLong):
		err = ErrBadRecord
	case err != nil:
		return Record{}, &UnknownError{fmt.Errorf("read the record of group %s: %w", group, err)}
	}
	if err != nil { // too long
		return Record{}, refused(WhyDamaged, repairHint(group), fmt.Sprintf("%s: %v", s.path(group), err))
	}
	return kept(group, s.groups[group], s.path(group), text)
}

// shown is a name from outside as an error can show it.
func shown(name string) string {
	if !ValidGroup(name) {
		return "?"
	}
	return name
}

// Look is Keeper's.
func (s *Store) Look(_ context.Context, group string) (Record, error) { return s.read(group) }

// AskFrom is Keeper's: the answer is on the disk before it is given.
func (s *Store) AskFrom(ctx context.Context, from string, r Request) (Record, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return Record{}, &UnknownError{err}
	}
	defer unlock()
	have, err := s.read(r.Group)
	if err != nil {
		return Record{}, err
	}
	next, err := Decide(have, s.groups[r.Group], from, r, s.now())
	if err != nil {
		return Record{}, err
	}
	// The same record is written once more: the process that wrote it may have been killed before the directory's fsync.
	if err := s.write(next); err != nil {
		return Record{}, &UnknownError{err}
	}
	return next, nil
}

func (s *Store) write(r Record) error {
	text, err := r.seal()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(s.path(r.Group), text, 0o600); err != nil {
		return fmt.Errorf("keep the record of group %s: %w", r.Group, err)
	}
	return nil
}

// Create is Keeper's. What it finds that was no record is kept beside it.
func (s *Store) Create(ctx context.Context, group, holder string, n uint64, force bool) (Record, error) {
	r := Record{Group: group, Holder: holder, N: n, When: s.now()}
	unlock, err := s.lock(ctx)
	if err != nil {
		return Record{}, err
	}
	defer unlock()
	have, err := s.read(group)
	if lost, ok := errors.AsType[*RefusedError](err); ok && lost.Why == WhyNoGroup || err != nil && !ok {
		return Record{}, err
	}
	if bad := creatable(have, err, s.groups[group], r, force); bad != nil {
		return Record{}, bad
	}
	if errors.Is(err, ErrDamaged) {
		if err := os.Rename(s.path(group), s.path(group)+damaged); err != nil {
			return Record{}, fmt.Errorf("keep what was damaged: %w", err)
		}
	}
	return r, s.write(r)
}

// creatable says why a record may not be made by hand; lost is why there is none, nil where there is one.
func creatable(have Record, lost error, members []string, r Record, force bool) error {
	there := lost == nil
	switch {
	case !r.valid():
		return refused(WhyBadRequest, createHint(r.Group)+" --holder <node> --n <n>", "a holder and a number above 0 go together")
	case r.Holder != "" && !slices.Contains(members, r.Holder):
		return refused(WhyNoMember, "", fmt.Sprintf("%s is not a member of group %s, which has %s", r.Holder, r.Group, strings.Join(members, " and ")))
	case there && !force:
		return refused(WhyThere, "kvmha status", fmt.Sprintf("there is a record already: %v", have))
	case errors.Is(lost, ErrDamaged) && r.N == 0 && !force:
		return refused(WhyThere, repairHint(r.Group), fmt.Sprintf("an empty record in the place of a damaged one would forget who went on alone: %v", lost))
	case there && r.N <= have.N:
		return refused(WhyThere, "kvmha status", fmt.Sprintf("the record never goes back: %v", have))
	}
	return nil
}
