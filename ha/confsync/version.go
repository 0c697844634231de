package confsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kept begins the names of the versions beside a path; their number follows, which grows with each.
const kept = "old."

func versionName(n int) string { return kept + strconv.Itoa(n) }

// versionOf reads the name of a version.
func versionOf(name string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(name, kept)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && versionName(n) == name
}

// versions gives the numbers of those that are beside a path, the newest first.
func versions(side string) (all []int, err error) {
	names, err := os.ReadDir(side)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the versions: %w", err)
	}
	for _, d := range names {
		if n, ok := versionOf(d.Name()); ok {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b int) int { return cmp.Compare(b, a) })
	return all, nil
}

// nextVersion names the one that follows all that a job's paths have.
func nextVersion(job Job) (string, error) {
	last := 0
	for _, p := range job.Paths {
		all, err := versions(beside(p))
		if err != nil {
			return "", err
		}
		if len(all) > 0 {
			last = max(last, all[0])
		}
	}
	return versionName(last + 1), nil
}

// prune removes the oldest versions beside a path, until keep are left; one of them stays as the spare tree.
func prune(side string, keep int) error {
	all, err := versions(side)
	if err != nil {
		return err
	}
	for _, n := range all[min(keep, len(all)):] {
		if err := discard(side, versionName(n)); err != nil {
			return fmt.Errorf("remove an old version: %w", err)
		}
	}
	return nil
}

// Version is what was in a job's places until it was replaced.
type Version struct {
	Number int       `json:"version"` // grows with each
	Until  time.Time `json:"until"`   // when it was replaced
	Files  int       `json:"files"`
}

// Versions gives those of a job that all of its paths have, the newest first.
func Versions(job Job) ([]Version, error) {
	var all []Version
	for i, p := range job.Paths {
		side := beside(p)
		numbers, err := versions(side)
		if err != nil {
			return nil, err
		}
		var here []Version
		for _, n := range numbers {
			at := filepath.Join(side, versionName(n))
			var st unix.Stat_t
			k := slices.IndexFunc(all, func(v Version) bool { return v.Number == n })
			if unix.Lstat(at, &st) != nil || i > 0 && k < 0 {
				continue // it goes at this moment
			}
			files, _, err := entries(at, nil)
			if err != nil {
				return nil, err
			}
			v := Version{Number: n, Until: time.Unix(st.Ctim.Unix())} // its last rename
			if i > 0 {
				v = all[k]
			}
			for _, info := range files {
				if !info.IsDir() {
					v.Files++
				}
			}
			here = append(here, v)
		}
		all = here
	}
	return all, nil
}

// Rollback puts the newest version that is kept in place again, and keeps the one that was there in its stead.
func (e *Engine) Rollback(ctx context.Context, job Job) error { return e.RollbackTo(ctx, job, 0) }

// RollbackTo does so with a version by its number; 0: the newest. What the source has now is not copied again until it changes.
func (e *Engine) RollbackTo(ctx context.Context, job Job, number int) error {
	l, err := e.lock(ctx, job.Name)
	if err != nil {
		return err
	}
	defer l.Unlock()
	all, err := Versions(job)
	if err != nil {
		return err
	}
	if number == 0 && len(all) > 0 {
		number = all[0].Number
	}
	if !slices.ContainsFunc(all, func(v Version) bool { return v.Number == number }) {
		return &NothingKeptError{job.Name, number}
	}
	now, err := e.recall(job.Name)
	if err != nil {
		return err
	}
	began := time.Now().UTC()
	for _, p := range job.Paths {
		at := filepath.Join(beside(p), versionName(number))
		if err := refresh(p, at, job.excludeOf(p)); err != nil {
			return err
		}
	}
	trees, err := stagings(job, versionName(number))
	if err != nil {
		return err
	}
	if _, err := freshen(job, versionName(number), trees); err != nil {
		return err
	}
	away, err := nextVersion(job)
	if err != nil {
		return err
	}
	if now.Away == versionName(number) { // it is what the source has
		now.Away, now.Held = "", time.Time{}
		now.Place, err = printOf(job, versionName(number))
	} else {
		now.Held = began
		if now.Away == "" {
			now.Away = away
		}
	}
	if err != nil {
		return err
	}
	return e.swap(ctx, job, versionName(number), now)
}

// NothingKeptError says that there is no version to go back to.
type NothingKeptError struct {
	Name   string
	Number int // 0: any
}

func (e *NothingKeptError) Error() string {
	if e.Number > 0 {
		return fmt.Sprintf("version %d is not kept", e.Number)
	}
	return fmt.Sprintf("nothing is kept: sync %s has not replaced anything yet", e.Name)
}

// Hint says where to look.
func (e *NothingKeptError) Hint() string { return "kvmha sync versions " + e.Name }
