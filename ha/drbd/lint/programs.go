package lint

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/ha/drbd/conf"
)

// Program is what a handler of drbd.conf begins on this machine.
type Program string

// The programs.
const (
	ProgramHere    Program = "here"    // it can be run
	ProgramSelf    Program = "self"    // it is the program that looks
	ProgramMissing Program = "missing" // nothing is there
	ProgramNoExec  Program = "no-exec" // it is there, and cannot be run
)

// helperPath is where a handler without a slash is looked for: the kernel gives its helper this PATH (drivers/block/drbd/drbd_nl.c, drbd_khelper),
// and the helper, drbdadm, its own to the shell that runs the handler.
var helperPath = []string{"/sbin", "/usr/sbin", "/bin", "/usr/bin"}

// command gives the program of a handler's command line; "" where a shell decides.
func command(line string) string {
	fields := strings.Fields(line)
	if len(fields) == 0 || strings.ContainsAny(fields[0], "=$`'\"\\;&|<>(){}*?~#!") {
		return ""
	}
	return fields[0]
}

// Commands gives the programs that the handlers of a configuration begin.
func Commands(c *conf.Config) (all []string) {
	l := &linter{in: Input{Here: c}}
	l.options(func(o conf.Option) {
		if name := command(o.Value.Text); o.Section == conf.Handlers && name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	})
	return all
}

// GatherPrograms looks for programs below root, "" for the machine's own; self is the one that looks, "" where it is not on that machine.
func GatherPrograms(root, self string, names []string) map[string]Program {
	all := map[string]Program{}
	for _, name := range names {
		where := []string{name}
		if !strings.Contains(name, "/") {
			where = nil
			for _, dir := range helperPath {
				where = append(where, path.Join(dir, name))
			}
		}
		all[name] = ProgramMissing
		for _, one := range where {
			if found := lookAt(filepath.Join(root+"/", one), self); found != ProgramMissing {
				all[name] = found
				break
			}
		}
	}
	return all
}

func lookAt(file, self string) Program {
	info, err := os.Stat(file)
	if err != nil {
		return ProgramMissing
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return ProgramNoExec
	}
	if own, err := os.Stat(self); err == nil && os.SameFile(own, info) {
		return ProgramSelf
	}
	return ProgramHere
}

// inVain says what follows where a handler does not run.
var inVain = map[string]string{
	"fence-peer":           "when the peer is lost the writes stay frozen until a person resumes them: the agent is not asked",
	"before-resync-target": "no resync begins here: DRBD takes its failure for a no",
}

// programs tells of handlers that cannot be run, those of one program at once.
func (l *linter) programs() {
	type use struct {
		at    conf.Position
		names []string
	}
	uses, order := map[string]*use{}, []string(nil)
	l.options(func(o conf.Option) {
		name := command(o.Value.Text)
		if o.Section != conf.Handlers || l.in.Programs[name] == "" {
			return
		}
		if uses[name] == nil {
			uses[name], order = &use{at: o.At}, append(order, name)
		}
		if u := uses[name]; !slices.Contains(u.names, o.Name) {
			u.names = append(u.names, o.Name)
		}
	})
	for _, name := range order {
		l.program(name, uses[name].at, uses[name].names)
	}
	switch h := l.in.Helper; {
	case h.Value == "" || path.Base(h.Value) == "drbdadm":
	default:
		l.say(Warning, h.At, "the kernel's helper is "+h.Value, "DRBD calls no handler of drbd.conf: the agent is never asked, and frozen writes stay frozen", "/sbin/drbdadm, the option usermode_helper of the module drbd")
	}
}

func (l *linter) program(name string, at conf.Position, handlers []string) {
	why := "DRBD calls it in vain"
	for _, h := range slices.Backward(handlers) {
		if one := inVain[h]; one != "" {
			why = one
		}
	}
	ours, better := path.Base(name) == "kvmha", "its right path"
	if ours && l.in.Self != "" {
		better = l.in.Self
	}
	what := listed(handlers) + ": " + name
	switch found := l.in.Programs[name]; {
	case found == ProgramMissing && !strings.Contains(name, "/"):
		l.say(Warning, at, what+" is in none of "+strings.Join(helperPath, ", "), "the kernel looks nowhere else; "+why, better)
	case found == ProgramMissing:
		l.say(Warning, at, what+" is not there", why, better)
	case found == ProgramNoExec:
		l.say(Warning, at, what+" cannot be run", why, "chmod 755 "+name)
	case ours && found == ProgramHere && l.in.Self != "":
		l.say(Note, at, what+" is another program than this, "+l.in.Self, "the two may not be of one version", better)
	}
}
