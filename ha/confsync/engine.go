package confsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kvmctl/internal/flock"
)

// Engine copies on the node that receives.
type Engine struct {
	State   string                                         // directory of journals and locks
	Source  func(job Job, path int) (shell, source string) // rsync's -e and its source; without shell the source is here
	Step    func(name string)                              // is told of each step before it is done; nil: nobody
	Unit    func(ctx context.Context, name string) error   // has a unit read its files again; nil: there are none
	Still   func(ctx context.Context, job Job) error       // asks whether the roles are what they were; nil: they are
	Silence time.Duration                                  // of the source, that ends a pull; 0: a minute
	Anyway  bool                                           // what a rollback put away comes again
}

func (e *Engine) step(name string) {
	if e.Step != nil {
		e.Step(name)
	}
}

// lock keeps two runs of one job apart, and finishes what a killed one began.
func (e *Engine) lock(ctx context.Context, name string) (*flock.Lock, error) {
	if err := os.MkdirAll(e.State, 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", e.State, err)
	}
	l, err := flock.Wait(ctx, filepath.Join(e.State, name+".lock"))
	if err != nil {
		return nil, fmt.Errorf("wait for another run: %w", err)
	}
	if err := e.recover(ctx, name); err != nil {
		return nil, errors.Join(fmt.Errorf("finish the run before: %w", err), l.Unlock())
	}
	return l, nil
}

// Run makes a job's paths equal to the source's. With dry all is done but the swap. What is equal already changes nothing and reloads nothing.
func (e *Engine) Run(ctx context.Context, job Job, dry bool) (all Changes, err error) {
	l, err := e.lock(ctx, job.Name)
	if err != nil {
		return all, err
	}
	defer l.Unlock()
	defer func() {
		if inode(e.journalPath(job.Name)) != 0 {
			return // the next run needs what is staged
		}
		for _, p := range job.Paths {
			err = errors.Join(err, discard(beside(p), staged), os.RemoveAll(placeOf(p, arrived)))
		}
	}()
	was, err := e.recall(job.Name)
	if err != nil {
		return all, err
	}
	during, stop := e.watch(ctx, job)
	defer stop()
	here, came := newPrint(), newPrint()
	var trees []staging
	var equal []func() error
	for i, p := range job.Paths {
		s, c, later, err := e.stage(during, job, i)
		if err != nil {
			return all, err
		}
		here.add(s.old)
		came.add(s.now)
		trees, equal = append(trees, s), append(equal, later)
		all = all.plus(c)
		if err := guard(job, p, c, all); err != nil {
			return all, err
		}
	}
	now := record{Source: came.sum(), Place: here.sum()}
	if was.equal(all, now) {
		all.Added, all.Changed, all.Deleted = 0, 0, 0
		if !dry {
			err = e.settle(ctx, job, was, now)
		}
		return all, err
	}
	if err := e.held(ctx, job, was, now, dry); err != nil {
		return all, err
	}
	for _, make := range equal {
		if make != nil {
			if err := make(); err != nil {
				return all, err
			}
		}
	}
	if err := e.validate(during, job); err != nil || dry {
		return all, err
	}
	return all, e.commit(ctx, job, now, trees)
}

// commit puts what is staged in place.
func (e *Engine) commit(ctx context.Context, job Job, now record, trees []staging) error {
	for _, p := range job.Paths { // the validator took its time
		if err := refresh(p, placeOf(p, staged), job.excludeOf(p)); err != nil {
			return err
		}
	}
	now.Place = now.Source
	fresh, err := freshen(job, staged, trees)
	if err == nil && fresh {
		now.Place, err = printOf(job, staged)
	}
	if err != nil {
		return err
	}
	return e.swap(ctx, job, staged, now)
}

// stage pulls one path beside its place. Of a directory that is equal no tree is made until later is called: it is wanted when another path of the job
// is not equal.
func (e *Engine) stage(ctx context.Context, job Job, i int) (s staging, c Changes, later func() error, err error) {
	p := job.Paths[i]
	clean, side := filepath.Clean(p), beside(p)
	if err := e.place(p); err != nil {
		return s, c, nil, err
	}
	if err := errors.Join(discard(side, staged), os.RemoveAll(placeOf(p, arrived))); err != nil {
		return s, c, nil, fmt.Errorf("remove what was staged: %w", err)
	}
	if err := os.MkdirAll(side, 0o700); err != nil {
		return s, c, nil, fmt.Errorf("make room beside %s: %w", p, err)
	}
	e.step("pull")
	listed, err := e.pull(ctx, job, i)
	if err != nil {
		return s, c, nil, err
	}
	var have map[string]fs.FileInfo
	var failed error
	var second sync.WaitGroup // two trees are listed in the time of one
	second.Go(func() { have, _, failed = entries(placeOf(p, spare), nil) })
	old, apart, err := entries(clean, job.excludeOf(p))
	second.Wait()
	if err := cmp.Or(err, failed); err != nil {
		return s, c, nil, err
	}
	s.old = old
	equal, err := e.tree(job, p, &s, have, listed)
	if err != nil {
		return s, c, nil, err
	}
	if err := onlyBelow(p, s.now, apart); err != nil {
		return s, c, nil, fmt.Errorf("pull %s: %w", p, err)
	}
	c = compare(s.old, s.now)
	if full(s.old) && !full(s.now) {
		c.New = 0 // empty files are as little as an empty directory
	}
	if equal != nil {
		return s, c, func() error { return errors.Join(equal(), carry(clean, placeOf(p, staged), apart)) }, nil
	}
	e.step("carry")
	return s, c, nil, carry(clean, placeOf(p, staged), apart)
}

// tree stages what has been pulled, and lists it; of a directory that is equal it is what is here, and later makes the staged one. have is what the
// spare tree has.
func (e *Engine) tree(job Job, p string, s *staging, have map[string]fs.FileInfo, listed map[string]bool) (later func() error, err error) {
	from := placeOf(p, staged)
	if directory(p) {
		from = placeOf(p, arrived)
	}
	came, _, err := entries(from, job.excludeOf(p))
	if err != nil {
		return nil, err
	}
	if len(came) == 0 {
		return nil, fmt.Errorf("pull %s: nothing came", p)
	}
	if err := expected(p, came); err != nil {
		return nil, fmt.Errorf("pull %s: %w", p, err)
	}
	if s.now = came; !directory(p) {
		return nil, nil
	}
	if err := told(p, s.old, came, listed); err != nil {
		return nil, err
	}
	make := func() error { return assemble(p, s.old, came, have, listed) }
	if sameTree(s.old, came, listed) {
		s.now = s.old
		return make, nil
	}
	s.now = maps.Clone(came)
	for name := range listed {
		if _, moved := came[name]; !moved {
			s.now[name] = s.old[name] // the same file
		}
	}
	return nil, make()
}

// place makes sure that there is something to exchange: the first run finds an empty place.
func (e *Engine) place(p string) error {
	clean := filepath.Clean(p)
	info, err := os.Lstat(clean)
	switch {
	case errors.Is(err, os.ErrNotExist) && directory(p):
		err = os.MkdirAll(clean, 0o700)
	case errors.Is(err, os.ErrNotExist):
		err = os.WriteFile(clean, nil, 0o600)
	case err == nil && directory(p) != info.IsDir(), err == nil && !info.IsDir() && !info.Mode().IsRegular():
		err = &KindError{p}
	}
	if err != nil {
		return fmt.Errorf("find the place of %s: %w", p, err)
	}
	return nil
}

// KindError says that a path is not what the file says it is.
type KindError struct{ Path string }

func (e *KindError) Error() string {
	if directory(e.Path) {
		return e.Path + " is no directory"
	}
	return e.Path + " is no regular file"
}
