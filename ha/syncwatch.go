package ha

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kvmctl/ha/confsync"
	"kvmctl/ha/failover"
	"kvmctl/ha/peer"
)

// syncBlind is how often a change is taken for granted where nobody can watch.
const syncBlind = time.Minute

// marksMost bounds how many marks a report has: they have to find room in its frame.
const marksMost = 100

// watching follows the files of the jobs whose source this node is, until ctx ends.
func (c *channel) watching(ctx context.Context) {
	type watched struct {
		files string // of the job
		runs  *runs
	}
	all := map[string]watched{}
	defer func() {
		for _, w := range all {
			w.runs.stop()
		}
	}()
	for ; ctx.Err() == nil; sleep(ctx, syncLook) {
		wanted := map[string]confsync.Job{}
		for _, job := range c.sources(ctx) {
			wanted[job.Name] = job
		}
		for name, w := range all {
			if job, still := wanted[name]; !still || filesOf(job) != w.files {
				w.runs.stop()
				delete(all, name)
				c.forget(name)
			}
		}
		for name, job := range wanted {
			if _, on := all[name]; !on {
				all[name] = watched{filesOf(job), &runs{}}
				all[name].runs.begin(ctx, func(ctx context.Context) { c.watch(ctx, job) })
			}
		}
	}
}

func filesOf(job confsync.Job) string { return fmt.Sprintf("%q %q", job.Paths, job.Exclude) }

// sources gives the jobs whose changes others want to hear of from this node.
func (c *channel) sources(ctx context.Context) (all []confsync.Job) {
	c.mu.Lock()
	for _, job := range c.syncs {
		if job.OnChange {
			all = append(all, job)
		}
	}
	c.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	r, err := c.report(ctx)
	return slices.DeleteFunc(all, func(job confsync.Job) bool {
		return err != nil || !slices.ContainsFunc(r.Groups, func(g GroupReport) bool { return g.Name == job.Group && g.Role == failover.Active.String() })
	})
}

// watch marks the changes of one job. Where it cannot see them, it says so and tells of one from time to time.
func (c *channel) watch(ctx context.Context, job confsync.Job) {
	subject := "watch of sync " + job.Name
	defer c.a.Degrade(subject, nil)
	for ctx.Err() == nil {
		err := confsync.Watch(ctx, job, func(lost bool) {
			c.a.Degrade(subject, nil)
			if lost {
				c.a.Log.Warn("the kernel lost events: the others copy all the same", "sync", job.Name)
			}
			c.mark(job.Name)
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.a.Degrade(subject, fmt.Errorf("%w: changes are copied within %s or so", err, syncBlind))
		}
		c.mark(job.Name)
		sleep(ctx, syncBlind)
	}
}

// mark makes a job's mark another one. It is of no use as a time: a clock may be set, and an agent may start again.
func (c *channel) mark(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks[name] = max(c.marks[name]+1, uint64(time.Now().UnixNano()))
}

func (c *channel) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.marks, name)
}

// changed gives the marks for a report.
func (c *channel) changed() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	some := map[string]uint64{}
	for _, job := range c.syncs {
		if m := c.marks[job.Name]; m != 0 && len(some) < marksMost {
			some[job.Name] = m
		}
	}
	return some
}

// markOf is what the source tells of a job; 0: nothing. What a node told before it fell silent may be of a source that is none any more.
func (c *channel) markOf(name string) (mark uint64) {
	now := c.a.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.ring.Nodes {
		if v := c.views[n.Name]; v.report != nil && n.Role == peer.Member && now.Sub(v.at) <= syncFresh {
			mark = max(mark, v.report.Changed[name])
		}
	}
	return mark
}
