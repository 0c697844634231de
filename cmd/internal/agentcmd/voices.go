package agentcmd

import (
	"path/filepath"

	"kvmctl/ha"
	"kvmctl/ha/audit"
	"kvmctl/ha/notify"
)

// spoolName is where alerts wait for their relay, below ha.StateDir.
const spoolName = "spool"

// voices gives the agent its audit log and its post; their Run is the caller's.
func (a *app) voices(o *ha.Options) (*journal, *notify.Post) {
	j := &journal{&audit.Log{Path: a.auditPath()}}
	switch o.Spec.Log.To {
	case ha.LogSyslog:
		j.log.Also = &audit.Syslog{}
	case ha.LogFile:
		j.log.Also = audit.File{Path: o.Spec.Log.File}
	case ha.LogJournal: // the agent's own lines go there
	}
	p := notify.New(filepath.Join(a.statePath(), spoolName), o.Log, o.Spec)
	o.Journal, o.Voices = j, p
	return j, p
}

// journal gives the agent's records to the audit log.
type journal struct{ log *audit.Log }

// Record implements ha.Journal.
func (j *journal) Record(r ha.Record) {
	j.log.Record(audit.Entry{Node: r.Node, Group: r.Group, From: r.From, To: r.To, Reason: r.Reason, Event: r.Event, Cause: r.Cause, Facts: r.Facts})
}
