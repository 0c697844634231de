package confsync

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Job is one [[sync]] of the file: valid values, every default filled in.
type Job struct {
	Name      string
	Group     string        // whose role gives the direction: its active node is the source
	Paths     []string      // absolute; one that ends with a slash is a directory, any other one a file
	Exclude   []string      // names, or with a slash paths below a directory; as path.Match has them
	Validate  []string      // argv; it sees the new files at the places of the old ones. Empty: nothing is asked
	Reload    []string      // argv, or the name of one systemd unit, after the swap. Empty: nothing has to be told
	MaxDelete int           // percent of a path's files that one run may take away
	ByCount   bool          // MaxDelete is a number of files instead, of all paths
	Keep      int           // versions that were replaced, 1 at least
	Every     time.Duration // 0: not by the clock
	At        TimeOfDay     // once a day
	OnChange  bool          // soon after the source tells of a change
}

// maxDelete is MaxDelete as the file has it.
func (j Job) maxDelete() string {
	if j.ByCount {
		return strconv.Itoa(j.MaxDelete)
	}
	return strconv.Itoa(j.MaxDelete) + "%"
}

var errMaxDelete = errors.New(`wanted a number of files such as "10", or a part of them from "0%" to "100%"`)

// ParseMaxDelete reads what one run may take away: "25%", or a number of files.
func ParseMaxDelete(text string) (n int, byCount bool, err error) {
	digits, percent := strings.CutSuffix(text, "%")
	u, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 31)
	if err != nil || strings.HasPrefix(digits, " ") || percent && u > 100 || !percent && u > maxFiles {
		return 0, false, errMaxDelete
	}
	return int(u), !percent, nil
}

// DefaultMaxDelete is how many percent of the files one run may take away.
const DefaultMaxDelete = 25

// DefaultKeep is how many replaced versions stay.
const DefaultKeep = 3

// DefaultEvery is how often a job that follows changes looks all the same, unless its file says when: a change may go untold.
const DefaultEvery = 10 * time.Minute

// directory reports whether a path of a Job is one.
func directory(path string) bool { return strings.HasSuffix(path, "/") }

// Unit is the systemd unit that a job's Reload names; empty: it is a command, or none.
func (j Job) Unit() string { return unitOf(j.Reload) }

func unitOf(reload []string) string {
	if len(reload) != 1 || filepath.IsAbs(reload[0]) {
		return ""
	}
	return reload[0]
}

// excludeOf gives what is left alone below a path.
func (j Job) excludeOf(path string) []string {
	if !directory(path) {
		return nil
	}
	return j.Exclude
}

// staged is the place beside a path, on its file system because a rename has to reach it, of what comes from the source.
const staged = "new"

// beside is the directory that holds what is staged for a path, and the versions that were there before.
func beside(path string) string {
	clean := filepath.Clean(path)
	return filepath.Join(filepath.Dir(clean), "."+filepath.Base(clean)+".kvmha")
}
