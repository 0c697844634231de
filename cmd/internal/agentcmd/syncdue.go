package agentcmd

import (
	"strings"
	"time"

	"kvmctl/ha/confsync"
)

// settled tells the agent which time of day of a job is done with.
func (a *app) settled(job confsync.Job) (time.Time, error) {
	return confsync.Settled(a.syncPath(), job.Name)
}

func (a *app) noteSettled(job confsync.Job, at time.Time) error {
	return confsync.NoteSettled(a.syncPath(), job.Name, at)
}

// whenSync is a column of kvmha sync list.
func whenSync(j confsync.Job) string {
	var all []string
	if j.Every > 0 {
		all = append(all, "every "+j.Every.String())
	}
	if j.At.Set {
		all = append(all, "at "+j.At.String())
	}
	if j.OnChange {
		all = append(all, "on change")
	}
	if len(all) == 0 {
		return "by hand"
	}
	return strings.Join(all, ", ")
}
