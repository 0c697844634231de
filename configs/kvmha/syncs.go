package kvmha

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
	"kvmctl/ha/confsync"
	"kvmctl/ha/peer"
)

// syncs gives the jobs of config sync, in the order of the file.
func (l *loader) syncs(raw []rawSync, groups []ha.Group) (all []confsync.Job) {
	names, places := strict.Firsts[string]{}, strict.Firsts[string]{}
	for i, r := range raw {
		at := strict.Element("sync", i)
		j := confsync.Job{Paths: r.Paths, Exclude: r.Exclude, Validate: r.Validate, Reload: r.Reload, MaxDelete: confsync.DefaultMaxDelete, Keep: confsync.DefaultKeep}
		strict.Set(&j.Name, r.Name)
		strict.Set(&j.Group, r.Group)
		l.maxDelete(at+".max_delete", r.MaxDelete, &j)
		strict.Set(&j.Keep, r.Keep)
		l.syncTimes(at, &j, r)
		if l.need(at, "name", r.Name != nil, "a sync has no name", `name = "zones"`) && !l.Bad[at+".name"] {
			if line, ok := names.Taken(l.Document, j.Name, at+".name"); ok {
				l.Value(at+".name", fmt.Sprintf("sync %q is in line %d already", j.Name, line), "")
			} else if !peer.ValidName(j.Name) {
				l.Value(at+".name", fmt.Sprintf("bad name of a sync %q: %v", j.Name, peer.ErrBadName), "")
			}
		}
		if l.need(at, "group", r.Group != nil, "a sync has no group", `group = "dns"`) && !l.Bad[at+".group"] &&
			!slices.ContainsFunc(groups, func(g ha.Group) bool { return g.Name == j.Group }) {
			l.Value(at+".group", fmt.Sprintf("sync.group wants a group of this file, got %q", j.Group), "")
		}
		if l.need(at, "paths", r.Paths != nil, "a sync has no paths", `paths = ["/etc/bind/"]`) && len(r.Paths) == 0 {
			l.Value(at+".paths", "sync.paths is empty", `paths = ["/etc/bind/"]`)
		}
		l.syncPaths(at, r, places)
		l.program(at+".validate", r.Validate)
		j.Reload = l.syncReload(at+".reload", r.Reload)
		all = append(all, j)
	}
	return all
}

// maxDelete reads a number of files or a part of them.
func (l *loader) maxDelete(path string, text *string, j *confsync.Job) {
	if text == nil || l.Bad[path] {
		return
	}
	n, byCount, err := confsync.ParseMaxDelete(*text)
	if err != nil {
		l.Value(path, fmt.Sprintf("bad sync.max_delete %q: %v", *text, err), `max_delete = "25%"`)
		return
	}
	j.MaxDelete, j.ByCount = n, byCount
}

// syncReload takes a command, or the name of a unit of systemd's.
func (l *loader) syncReload(path string, words []string) []string {
	if len(words) != 1 || words[0] == "" || strings.Contains(words[0], "/") || l.Bad[strict.Element(path, 0)] {
		l.program(path, words)
		return words
	}
	return []string{l.unitName(path, ha.UnitSystemd, words[0])}
}

func (l *loader) syncPaths(at string, r rawSync, places strict.Firsts[string]) {
	for k, p := range r.Paths {
		one := strict.Element(at+".paths", k)
		clean := strings.TrimSuffix(p, "/")
		switch {
		case l.Bad[one]:
		case !filepath.IsAbs(p) || filepath.Clean(p) != clean || clean == "":
			l.Value(one, "sync.paths wants absolute paths, a directory with a slash behind it, got "+strict.Quote(p), "")
		case inside(ha.StateDir, clean) || inside(clean, ha.StateDir):
			l.Value(one, strict.Quote(p)+" holds this node's own keys and records: they are never copied", "")
		default:
			if line, ok := places.Taken(l.Document, clean, one); ok {
				l.Value(one, fmt.Sprintf("%s is copied already by line %d", p, line), "")
			}
		}
	}
	for k, x := range r.Exclude {
		one := strict.Element(at+".exclude", k)
		if _, err := path.Match(x, ""); !l.Bad[one] && (err != nil || strings.Trim(x, "/") == "" || strings.Contains(x, "**")) {
			l.Value(one, "sync.exclude wants names with * and ?, or paths below the directory, got "+strict.Quote(x), "")
		}
	}
}

// inside reports whether p is dir or lies below it.
func inside(dir, p string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
