package confsync

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// placeOf is where what has a name is beside a path.
func placeOf(path, name string) string { return filepath.Join(beside(path), name) }

// printOf is the fingerprint of what has a name beside a job's paths.
func printOf(job Job, name string) (string, error) {
	f := newPrint()
	for _, p := range job.Paths {
		all, _, err := entries(placeOf(p, name), job.excludeOf(p))
		if err != nil {
			return "", err
		}
		f.add(all)
	}
	return f.sum(), nil
}

// staging is what is in one of a job's places, and what is to be there.
type staging struct{ old, now map[string]fs.FileInfo }

// freshen gives each file that is to replace one which is as new or newer the time of now, and reports whether there was any: BIND loads no zone
// from a file that is not newer than what it has (zone_load in lib/dns/zone.c), neither behind a rollback nor behind its end.
func freshen(job Job, name string, all []staging) (any bool, err error) {
	now := time.Now()
	for i, p := range job.Paths {
		for rel, info := range all[i].now {
			was, is := all[i].old[rel]
			if !is || !info.Mode().IsRegular() || os.SameFile(info, was) || info.ModTime().After(was.ModTime()) {
				continue
			}
			at := now
			if !at.After(was.ModTime()) {
				at = was.ModTime().Add(time.Second)
			}
			if err := os.Chtimes(filepath.Join(placeOf(p, name), rel), time.Time{}, at); err != nil {
				return false, fmt.Errorf("renew the time of a file: %w", err)
			}
			any = true
		}
	}
	return any, nil
}

// stagings lists what is in a job's places, and what has a name beside them.
func stagings(job Job, name string) (all []staging, err error) {
	for _, p := range job.Paths {
		var s staging
		if s.old, _, err = entries(filepath.Clean(p), job.excludeOf(p)); err == nil {
			s.now, _, err = entries(placeOf(p, name), job.excludeOf(p))
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}
