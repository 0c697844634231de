package ha

import (
	"strings"
	"time"

	"kvmctl/ha/check"
	"kvmctl/ha/failover"
)

// watchPolicy is that of a unit's watch. That it has ended is pushed, and counts at once; what may pass by itself, such as systemd's own attempts
// to restart it, has to last.
var watchPolicy = check.Policy{Interval: 10 * time.Second, Timeout: 2 * time.Second, Fall: 3, Rise: 1}

// watches gives what tells the end of the group's units, named "group/unit", off. Of a script or command without a pidfile nobody can tell.
func (g Group) watches() []check.Item {
	var all []check.Item
	for _, u := range g.Units {
		it := check.Item{Name: g.Name + "/" + u.Name, Policy: watchPolicy, Off: true}
		switch {
		case u.Kind == UnitSystemd:
			it.Spec = check.Systemd{Unit: u.Name}
		case u.PIDFile != "":
			it.Spec = check.Process{PIDFile: u.PIDFile}
		default:
			continue
		}
		all = append(all, it)
	}
	return all
}

// addWatches takes a group's watches on. Where one cannot be had the checks have to find out.
func (a *Agent) addWatches(g *group) {
	for _, it := range g.spec.watches() {
		a.degrade("watch of unit "+it.Name, a.units.Add(it))
	}
}

func (a *Agent) removeWatches(g *group) {
	for _, it := range g.spec.watches() {
		_ = a.units.Remove(it.Name) // one that could not be had is not there
	}
}

// watchUnits has the units of a group watched, or not: elsewhere than on the active node they end because they are told to.
func (a *Agent) watchUnits(g *group, on bool) {
	for _, it := range g.spec.watches() {
		a.watchUnit(g, strings.TrimPrefix(it.Name, g.spec.Name+"/"), on)
	}
}

// watchUnit does that for one. While it is being restarted it is not watched, and what was known of it before is forgotten: its death would be
// our own doing.
func (a *Agent) watchUnit(g *group, name string, on bool) {
	for _, u := range g.restarts {
		on = on && u != name
	}
	_ = a.units.Enable(g.spec.Name+"/"+name, on) // an error: it has no watch
}

// restarting notes that a step which restarts a unit begins.
func (a *Agent) restarting(g *group, s failover.Step) {
	g.restarts[s.ID] = s.Name
	a.watchUnit(g, s.Name, false)
}

// restarted notes the end of a step.
func (a *Agent) restarted(g *group, id uint64) {
	if name, was := g.restarts[id]; was {
		delete(g.restarts, id)
		a.watchUnit(g, name, g.fo.Status().Role == failover.Active)
	}
}

// takeUnits tells the groups which of their units have ended, or run again.
func (a *Agent) takeUnits(time.Time) {
	for _, s := range a.units.Take() {
		name, unit, _ := strings.Cut(s.Name, "/")
		g := a.group(name)
		switch {
		case g == nil || !s.On:
		case s.State == check.Red:
			a.push(g, failover.UnitDied{Name: unit, Why: s.Reason})
		case s.State == check.Green:
			a.push(g, failover.UnitRuns{Name: unit})
		}
	}
}
