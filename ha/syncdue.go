package ha

import (
	"context"
	"errors"
	"time"

	"kvmctl/ha/confsync"
)

// paces are what syncing knows of each job, by name. They are its own.
type paces map[string]*confsync.Pace

// of gives a job's; the first time what is on disk.
func (c *channel) paceOf(all paces, job confsync.Job) *confsync.Pace {
	p := all[job.Name]
	if p == nil {
		p = &confsync.Pace{}
		all[job.Name] = p
		if job.At.Set && c.a.Settled != nil {
			at, err := c.a.Settled(job)
			c.a.Degrade("time of sync "+job.Name, err)
			p.Settled = at
		}
	}
	return p
}

// syncing runs the jobs that are due, one after the other, until ctx ends.
func (c *channel) syncing(ctx context.Context) {
	all := paces{}
	for ; ctx.Err() == nil; sleep(ctx, syncLook) {
		c.lookHeld()
		c.mu.Lock()
		jobs, spec := c.syncs, c.spec
		c.mu.Unlock()
		for _, job := range jobs {
			if ctx.Err() == nil {
				c.syncIfDue(ctx, spec, job, c.paceOf(all, job))
			}
		}
	}
}

func (c *channel) syncIfDue(ctx context.Context, spec Spec, job confsync.Job, p *confsync.Pace) {
	now, wall := c.a.Clock.Now(), time.Now()
	mark := c.markOf(job.Name)
	why := job.Due(*p, now, wall, mark)
	if why == "" {
		return
	}
	reply := c.a.ask(ctx, Request{Verb: VerbStatus})
	if reply.Status == nil {
		return
	}
	from, err := SyncSource(*reply.Status, job.Group)
	if errors.Is(err, ErrSource) { // the others copy: when this node stands by again, the day's copy is not made up for
		c.settle(job, p, wall)
		p.Mark = mark // of an old view
		if p.Failed { // what was not copied is of no interest to the source
			p.Failed = false
			c.a.Degrade("sync "+job.Name, nil)
			c.say(spec, job, nil)
		}
	}
	if err != nil {
		return // the source's business, or nobody's: the group's own alarms tell
	}
	c.a.Log.Debug("a sync is due", "sync", job.Name, "from", from, "why", why)
	was := *p
	p.Began, p.Mark = now, mark
	within, cancel := context.WithTimeout(ctx, syncWait)
	err = c.a.Sync(within, job, from)
	cancel()
	if ctx.Err() != nil {
		return
	}
	if _, ended := errors.AsType[*confsync.EndedError](err); ended { // nothing is wrong, and nothing is done
		p.Mark = was.Mark
		c.a.Log.Info("a sync has ended early", "sync", job.Name, "why", err)
		return
	}
	if c.a.Degrade("sync "+job.Name, err); err == nil {
		c.settle(job, p, wall)
	}
	if err != nil != was.Failed {
		p.Failed = err != nil
		c.say(spec, job, err)
	}
}

// settle notes that a job's time of day is done with.
func (c *channel) settle(job confsync.Job, p *confsync.Pace, wall time.Time) {
	if job.Settle(p, wall) && c.a.NoteSettled != nil {
		c.a.Degrade("time of sync "+job.Name, c.a.NoteSettled(job, p.Settled))
	}
}
