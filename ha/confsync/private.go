package confsync

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Private is something below a job's paths that belongs to one node, and would be copied.
type Private struct {
	Path    string // the first one
	More    int    // others like it
	What    string // "the leases of dhcpd"
	Exclude string // what of Job.Exclude leaves it alone; empty: it is a path of the job itself
}

// private are names of files that say what is in them.
var private = []struct{ name, what string }{
	{"dhcpd.leases*", "the leases of dhcpd"},
	{"dhcpd6.leases*", "the leases of dhcpd"},
	{"kea-leases*", "the leases of kea"},
	{"dhclient*.lease*", "the leases that this machine itself has"},
	{"*.jnl", "a journal of BIND's"},
	{"*.jbk", "a journal of BIND's"},
	{"managed-keys.bind*", "the trust anchors that BIND keeps"},
	{"*.mkeys", "the trust anchors that BIND keeps"},
	{"rndc.key", "the key to this machine's BIND"},
	{"session.key", "the key to this machine's BIND"},
	{"ssh_host_*_key*", "a host key of ssh"},
	{"secrets.tdb", "samba's secrets, its SID among them"},
	{"*.tdb", "a database of samba's"},
	{"*.ldb", "a database of samba's"},
	{"*.keytab", "Kerberos keys of this machine"},
	{"machine-id", "the id of this machine"},
	{"hostname", "the name of this machine"},
	{"*.pid", "the number of a process here"},
}

// What begins a zone that BIND has written itself.
var (
	rawZone  = []byte{0, 0, 0, 2, 0, 0, 0} // masterfile-format raw (dns_masterrawheader_t in lib/dns/include/dns/masterdump.h)
	textZone = []byte("$ORIGIN .\n")       // a dump by lib/dns/masterdump.c
)

// errEnough ends a look at a tree.
var errEnough = errors.New("looked at enough")

// maxLook bounds how many files are looked at.
const maxLook = 20_000

// LookPrivate finds what below a job's paths is private: by the names of files, and by what a zone begins with. What cannot be read is passed over.
func LookPrivate(ctx context.Context, job Job) (all []Private) {
	seen := map[string]int{} // where in all, by Exclude
	looked := 0
	for _, p := range job.Paths {
		clean, exclude := filepath.Clean(p), job.excludeOf(p)
		_ = filepath.WalkDir(clean, func(at string, d fs.DirEntry, err error) error {
			if looked++; looked > maxLook || ctx.Err() != nil {
				return errEnough
			}
			rel, rerr := filepath.Rel(clean, at)
			if err != nil || rerr != nil {
				return nil
			}
			if rel != "." && excluded(exclude, filepath.ToSlash(rel)) {
				if d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			if !d.Type().IsRegular() {
				return nil
			}
			name, what := privateFile(at, d.Name())
			if what == "" {
				return nil
			}
			if rel == "." {
				name = ""
			}
			if i, is := seen[name]; is {
				all[i].More++
				return nil
			}
			seen[name] = len(all)
			all = append(all, Private{Path: at, What: what, Exclude: name})
			return nil
		})
	}
	return all
}

// privateFile tells what a file is, and the pattern of Job.Exclude for it.
func privateFile(at, base string) (pattern, what string) {
	for _, k := range private {
		if ok, _ := path.Match(k.name, base); ok {
			return k.name, k.what
		}
	}
	f, err := os.Open(at)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	head := make([]byte, len(textZone))
	n, _ := io.ReadFull(f, head)
	head = head[:n]
	if bytes.HasPrefix(head, rawZone) || bytes.HasPrefix(head, textZone) {
		return escapePattern(base), "a zone that BIND has written itself, as it does for a secondary or a dynamic one"
	}
	return "", ""
}

// escapePattern makes a pattern that means just this name.
func escapePattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}
