package ha

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"kvmctl/ha/failover"
)

// beginStop lets go of everything; Run ends when it is done.
func (a *Agent) beginStop(now time.Time) {
	a.stopping = true
	if err := a.tell("STOPPING=1"); err != nil {
		a.degrade("notify", err)
	}
	for _, g := range a.groups {
		a.push(g, failover.Stop{})
	}
}

// errNoLoad says that the agent was started without a file that it could read again.
var errNoLoad = errors.New("there is no file to read again")

// loaded is a file that was read again.
type loaded struct {
	spec Spec
	err  error
	q    *asked // who wants to know; nil: a signal
	nth  uint64 // reading since the start
}

// reload reads the file beside the loop.
func (a *Agent) reload(besides context.Context, now time.Time, q *asked) {
	if a.Load == nil {
		a.reloaded(now, loaded{err: errNoLoad, q: q, nth: a.read})
		return
	}
	if err := a.tell("RELOADING=1", a.monotonic()); err != nil {
		a.degrade("notify", err)
	}
	a.reading++
	nth := a.reading
	a.beside.Go(func() {
		spec, err := a.Load(besides)
		select {
		case a.specs <- loaded{spec, err, q, nth}:
		case <-besides.Done():
		}
	})
}

// reloaded takes a new file: groups that are the same in it notice nothing; one that changed in what its machines were built from is let go and
// begun anew. A file that could not be used changes nothing.
func (a *Agent) reloaded(now time.Time, l loaded) {
	defer func() {
		if err := a.tell("READY=1", "STATUS="+a.oneLine()); err != nil {
			a.degrade("notify", err)
		}
	}()
	if l.nth < a.read {
		if l.q != nil {
			l.q.reply <- Reply{} // what has been read since is newer
		}
		return
	}
	a.read = l.nth
	if l.err != nil {
		a.unused(l.err)
		if l.q != nil {
			l.q.reply <- unusable(l.err)
		}
		return
	}
	a.degrade("configuration", nil)
	a.Log.Info("configuration loaded", "groups", len(l.spec.Groups))
	a.Spec = l.spec
	if a.Voices != nil {
		a.Voices.Use(l.spec)
	}
	a.channel.want(l.spec)
	a.heartbeat.want(l.spec)
	a.follows(l.spec.Groups)
	if l.q != nil {
		l.q.reply <- Reply{}
	}
}

// UnsafeError says that a file is well, but that its storage may not run on this machine as it is.
type UnsafeError struct{ Why []error }

func (e *UnsafeError) Error() string { return errors.Join(e.Why...).Error() }

// Unwrap gives the reasons.
func (e *UnsafeError) Unwrap() []error { return e.Why }

// Hint is the command that says what is better.
func (*UnsafeError) Hint() string { return "kvmha drbd lint" }

// unusable answers whoever wanted a file to be used.
func unusable(err error) Reply {
	if unsafe, ok := errors.AsType[*UnsafeError](err); ok {
		return Reply{Refused: true, Error: unsafe.Error(), Hint: unsafe.Hint()}
	}
	return Reply{Usage: !errors.Is(err, errNoLoad), Error: err.Error(), Hint: "kvmha check"}
}

// unused notes a file that cannot be used.
func (a *Agent) unused(err error) {
	a.Log.Error("the file is not used; the agent goes on as it is", "error", err)
	a.degrade("configuration", err)
}

// follows lets go of the groups that the file no longer has as they are; follow does the rest.
func (a *Agent) follows(wanted []Group) {
	a.wanted = wanted
	for _, g := range a.groups {
		if w := find(wanted, g.spec.Name); w == nil || !reflect.DeepEqual(*w, g.spec) {
			a.Log.Info("configuration changed", "group", g.spec.Name, "removed", w == nil)
			g.leaving = true
			why := "the configuration has changed, and the group begins anew"
			if w == nil {
				why = "the configuration has the group no more"
			}
			a.push(g, failover.Stop{Why: why})
		}
	}
}

// follow brings the groups to what the last reload wants, as far as the old ones have let go.
func (a *Agent) follow(besides context.Context, now time.Time) {
	for _, g := range slices.Clone(a.groups) {
		if g.leaving && g.stopped {
			a.out[g.spec.Name] = g.maintenance
			a.remove(g)
		}
	}
	if a.wanted == nil || a.stopping {
		return
	}
	waits := false
	for _, w := range a.wanted {
		switch old := a.group(w.Name); {
		case slices.ContainsFunc(a.groups, func(g *group) bool { return g.leaving && g.spec.collides(w) }):
			waits = true
		case old == nil:
			if err := a.add(besides, w, now); err != nil {
				a.degrade("group "+w.Name, err)
			}
		}
	}
	if !waits {
		a.wanted = nil
		clear(a.out)
	}
}

// collides reports whether two groups cannot run side by side on one node: they have the name, the virtual router, an address or a unit in common.
// One that was renamed has all but the first.
func (g Group) collides(o Group) bool {
	return g.Name == o.Name || g.VHID == o.VHID && (g.Interface == o.Interface || g.VirtualMAC && o.VirtualMAC) ||
		slices.ContainsFunc(g.Addresses, func(a netip.Addr) bool { return slices.Contains(o.Addresses, a) }) ||
		slices.ContainsFunc(g.Units, func(u Unit) bool {
			return slices.ContainsFunc(o.Units, func(v Unit) bool { return u.Kind == v.Kind && u.Name == v.Name })
		})
}

func find(all []Group, name string) *Group {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}
