package kvmha

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"kvmctl/ha"
)

var (
	groupName   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`) })
	systemdName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,255}$`) })
	sysvName    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]{0,100}$`) })
	ifaceName   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[^\s/:%]{1,15}$`) })
)

// unitTypes are systemd's that can be started and stopped (systemd.unit(5)).
var unitTypes = []string{".service", ".target", ".socket", ".timer", ".path", ".mount", ".automount", ".swap", ".slice", ".scope"}

func badGroupName(name string) string {
	switch {
	case !groupName().MatchString(name):
		return "only letters, digits, _ and - are allowed, the first is a letter or a digit, and there are at most 40"
	case name == "all":
		return `"all" means every group`
	}
	return ""
}

// badInterface is the kernel's rule (dev_valid_name), and what '%' would mean.
func badInterface(name string) string {
	switch {
	case len(name) > 15:
		return "longer than the kernel's 15 bytes"
	case !ifaceName().MatchString(name), name == ".", name == "..":
		return "no blank, /, : or % is allowed"
	case name == "lo":
		return "nobody else is on it"
	case name == "all", name == "default":
		return "the kernel uses it for itself"
	}
	return ""
}

// unitName checks a unit's name and completes one of systemd's with its suffix.
func (l *loader) unitName(path string, kind ha.UnitKind, name string) string {
	if l.Bad[path] {
		return name
	}
	switch kind {
	case ha.UnitSystemd:
		if !systemdName().MatchString(name) {
			l.Value(path, fmt.Sprintf("bad unit name %q: systemd knows letters, digits and :-_.\\@", name), "")
			return name
		}
		for _, t := range unitTypes {
			if !strings.HasSuffix(name, t) {
				continue
			}
			if t == ".slice" || t == ".scope" {
				l.Value(path, fmt.Sprintf("%q cannot be started and stopped", name), "")
			} else if t == ".mount" || t == ".automount" || t == ".swap" {
				l.Value(path, fmt.Sprintf("%q: a unit that mounts is mounted by nobody in the right order", name), "[[group.<name>.mount]] with its device and directory")
			}
			return name
		}
		return name + ".service"
	case ha.UnitSysV:
		if !sysvName().MatchString(name) {
			l.Value(path, fmt.Sprintf("bad name %q of an init script: it is a file of /etc/init.d", name), "")
		}
	}
	return name
}
