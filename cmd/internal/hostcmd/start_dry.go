package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"kvmctl/configs"
	"kvmctl/vm"
)

// dryRun prints what a start would execute, worked out by the same code.
func (a *app) dryRun(ctx context.Context, s *configs.Site, guests []*configs.Guest, o startOptions) error {
	h := a.host(s, "start --dry-run")
	plan := startPlan(s, guests, o)
	specs := map[string]*vm.Spec{}
	for _, spec := range plan.Specs {
		specs[spec.Name] = spec
	}
	jobs := plan.Jobs()
	var errs []error
	for _, line := range scheduleLines(jobs) {
		if len(jobs) > 1 {
			fmt.Fprintln(a.env.Out, line.text)
		}
		spec := specs[line.name]
		if spec == nil { // only looked at
			continue
		}
		p, err := h.PrepareFrom(ctx, spec, vm.Origin{Discard: o.discard})
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot work out the start of %s: %w", spec.Name, err))
			continue
		}
		for _, n := range p.Notes {
			a.env.Talk("%s: %s", spec.Name, n)
		}
		printArgv(a.env.Out, p.Argv)
	}
	return errors.Join(errs...)
}

// scheduleLine says in a comment of a shell's when a guest's turn is.
type scheduleLine struct{ name, text string }

// scheduleLines gives the jobs in an order in which they can be done.
func scheduleLines(jobs []vm.Job) []scheduleLine {
	byName := map[string]vm.Job{}
	for _, j := range jobs {
		byName[j.Name] = j
	}
	var lines []scheduleLine
	schedule := vm.NewSchedule(jobs, 1) // one slot: each act begins when the one before it is over
	now := time.Time{}
	for in := []vm.Input{{}}; !schedule.Done(); in = in[1:] {
		if len(in) == 0 {
			now = schedule.Next()
			in = append(in, vm.Input{})
		}
		for _, e := range schedule.Step(now, in[0]) {
			if e.Do == vm.DeedAct {
				lines = append(lines, scheduleLine{e.Name, "# " + e.Name + ": " + turn(byName[e.Name], byName)})
				in = append(in, vm.Input{Event: vm.EventActed, Name: e.Name})
			} else {
				in = append(in, vm.Input{Event: vm.EventReady, Name: e.Name})
			}
		}
	}
	return lines
}

// turn says in words when a job's turn is.
func turn(j vm.Job, all map[string]vm.Job) string {
	if j.Outside {
		return "has to run"
	}
	var parts []string
	for _, d := range j.Needs {
		switch need := all[d.Name]; {
		case d.Hard && need.Await:
			parts = append(parts, fmt.Sprintf("when %s is ready, within %v", d.Name, need.Timeout))
		case d.Hard:
			parts = append(parts, "when "+d.Name+" runs")
		default:
			parts = append(parts, "after the start of "+d.Name)
		}
	}
	if len(parts) == 0 {
		parts = []string{"at once"}
	}
	if j.Delay > 0 {
		parts = append(parts, j.Delay.String()+" later")
	}
	return strings.Join(parts, ", ")
}

// printArgv prints a command line that a shell reads back, an option a line.
func printArgv(w io.Writer, argv []string) {
	for i, arg := range argv {
		switch {
		case i == 0:
		case len(arg) > 1 && arg[0] == '-':
			io.WriteString(w, " \\\n  ")
		default:
			io.WriteString(w, " ")
		}
		io.WriteString(w, vm.CommandLine([]string{arg}))
	}
	io.WriteString(w, "\n")
}
