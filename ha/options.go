package ha

import (
	"context"
	"log/slog"
	"net"
	"os"
	"time"

	"kvmctl/ha/confsync"
	"kvmctl/ha/failover"
	"kvmctl/internal/systemd"
)

// Options are what an agent is made of: everything by which it touches the world.
type Options struct {
	Spec        Spec
	Clock       Clock
	Network     Network
	Notifier    *Notifier // nil: nobody is told
	Log         *slog.Logger
	Journal     Journal                                                        // of roles; nil: only Log
	Voices      Voices                                                         // for alerts; nil: only Log
	Control     net.Listener                                                   // nil: nobody asks
	Bus         *systemd.Bus                                                   // for checks; nil: no systemd here
	Root        string                                                         // below which the network's configuration is; empty: /
	Load        func(context.Context) (Spec, error)                            // of a reload
	Reload      <-chan os.Signal                                               // SIGHUP
	Restart     <-chan os.Signal                                               // SIGUSR2
	Keys        string                                                         // where those of the peer channel are
	Records     string                                                         // where those that an arbiter keeps are
	Disks       *StorageWorld                                                  // nil: no group has storage
	Sync        func(ctx context.Context, job confsync.Job, from string) error // copies from a peer; nil: nothing is copied
	Held        func(job confsync.Job) (since time.Time, err error)            // by a rollback; nil: none is
	Settled     func(job confsync.Job) (time.Time, error)                      // the last time of day of a job that is done with; nil: nobody knows
	NoteSettled func(job confsync.Job, at time.Time) error                     // for the next start; nil: nobody notes it
	Version     string
	BootID      string
	Resume      *Handover // what the program before left; nil: a start
	Unread      error     // why the file could not be read and Spec is that of Resume; nil: it is the file's
}

// Journal takes one record a change of role. It does not wait.
type Journal interface{ Record(Record) }

// Record is one line of the audit log.
type Record struct {
	Node   string   `json:"node"`
	Group  string   `json:"group"`
	From   string   `json:"from"`
	To     string   `json:"to"`
	Reason string   `json:"reason,omitempty"` // of waiting
	Event  string   `json:"event"`
	Cause  string   `json:"cause"`
	Facts  []string `json:"facts,omitempty"`
}

// Voices carries alerts to people. It does not wait.
type Voices interface {
	Say(Spec, Group, failover.Alert)
	Use(Spec) // a reload has changed how people are reached
}
