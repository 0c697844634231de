package doctor

import (
	"fmt"
	"strings"

	"kvmctl/vm"
)

func judgeConfig(f *Facts, r *report) {
	switch {
	case f.Mistakes == 1:
		r.add(Error, "", "kvmctl check", "a mistake in kvm.toml or a vm.toml")
	case f.Mistakes > 1:
		r.add(Error, "", "kvmctl check", "%d mistakes in kvm.toml and the guests' files", f.Mistakes)
	}
}

func judgeGuests(f *Facts, r *report) {
	state := map[int]byte{}
	for _, p := range f.Processes {
		state[p.PID] = p.State
	}
	for _, g := range f.Guests {
		switch {
		case g.PID > 0 && state[g.PID] == 'T':
			r.add(Error, g.Name, fmt.Sprintf("kill -CONT %d", g.PID), "its QEMU (pid %d) was stopped by a signal", g.PID)
		case g.PID > 0 && state[g.PID] == 't':
			r.add(Warning, g.Name, fmt.Sprintf("grep TracerPid /proc/%d/status", g.PID), "a debugger holds its QEMU (pid %d)", g.PID)
		case g.State == vm.StateWedged && state[g.PID] == 'D':
			r.add(Error, g.Name, fmt.Sprintf("cat /proc/%d/stack", g.PID), "its QEMU (pid %d) hangs in the kernel, mostly on storage that does not answer", g.PID)
		case g.State == vm.StateWedged && g.PID == 0:
			r.add(Error, g.Name, "kvmctl status "+g.Name, "%s", g.Note)
		case g.State == vm.StateWedged:
			r.add(Error, g.Name, "kvmctl restart "+g.Name+" --force", "its QEMU (pid %d) does not answer", g.PID)
		case g.State == vm.StateCrashed:
			typed := "kvmctl log " + g.Name
			if g.Configured && !g.Broken {
				typed += "; kvmctl start " + g.Name
			}
			r.add(Warning, g.Name, typed, "it crashed: %s", g.Note)
		case g.State == vm.StatePaused && strings.HasPrefix(g.Note, "stopped"):
			r.add(Error, g.Name, "kvmctl log "+g.Name+" -n 5", "it stands still: %s", g.Note)
		case g.State == vm.StateStarting && g.Note != "":
			r.add(Warning, g.Name, "kvmctl start "+g.Name, "%s", g.Note)
		}
		if !g.Configured && g.PID > 0 {
			r.add(Warning, g.Name, "kvmctl stop "+g.Name, "it runs (pid %d) and is no longer configured", g.PID)
		}
		if g.Owed && g.PID == 0 {
			r.add(Warning, g.Name, "kvmctl ended "+g.Name, "the hooks of its end have not run").fix(ClearAway, g.Name)
		}
	}
}

func judgeFiles(f *Facts, r *report) {
	for _, x := range f.Files {
		r.add(Error, x.Guest, x.Type, "%s: %s", x.What, x.Why)
	}
}

func judgeMACs(f *Facts, r *report) {
	owner := map[string]string{}
	for _, g := range f.Guests {
		mine := map[string]bool{}
		for _, m := range g.MACs {
			if mine[m] {
				continue
			}
			mine[m] = true
			if other := owner[m]; other != "" {
				r.add(Error, g.Name, "another mac under [[nic]] of one of them", "%s is the address of a card of %s, too", m, other)
				continue
			}
			owner[m] = g.Name
		}
	}
}

// Collisions gives the guests whose cards have the address of another's.
func Collisions(f *Facts) []Finding {
	r := &report{check: "macs"}
	judgeMACs(f, r)
	return r.all
}
