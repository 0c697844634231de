package lint

import (
	"fmt"
	"strconv"
	"strings"

	"kvmctl/ha/drbd/conf"
)

// Bounds of the small files that are read.
const (
	maxSmall = 256 << 10 // bytes
	maxLines = 10000
)

// lines calls f for each line of a text with what is left of white space; continued lines are one.
func lines(text []byte, continued bool, f func(n int, line string)) {
	all := strings.Split(string(text[:min(len(text), maxSmall)]), "\n")
	all = all[:min(len(all), maxLines)]
	for i := 0; i < len(all); i++ {
		n, line := i+1, strings.TrimRight(all[i], "\r")
		for continued && strings.HasSuffix(line, `\`) && i+1 < len(all) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + strings.TrimRight(all[i], "\r")
		}
		f(n, line)
	}
}

// ParseFstab reads fstab(5). What has less than two fields is passed over, as mount does.
func ParseFstab(name string, text []byte) (all []Mount) {
	lines(text, false, func(n int, line string) {
		trimmed := strings.TrimLeft(line, " \t")
		fields := strings.Fields(trimmed)
		if len(fields) < 2 || strings.HasPrefix(trimmed, "#") {
			return
		}
		m := Mount{What: unescape(fields[0]), Where: unescape(fields[1]), At: conf.Position{File: name, Line: n, Column: len(line) - len(trimmed) + 1}}
		if m.Where == "none" || len(fields) > 2 && fields[2] == "swap" {
			m.Where = ""
		}
		if len(fields) > 3 {
			m.Options = strings.Split(fields[3], ",")
		}
		all = append(all, m)
	})
	return all
}

// unescape undoes \040 and its like (fstab(5)).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// setting is a line of a section of one of systemd's files.
type setting struct {
	section, key, value string
	at                  conf.Position
}

// parseUnit reads a file as systemd.syntax(7) has it.
func parseUnit(name string, text []byte) (all []setting) {
	section := ""
	lines(text, true, func(n int, line string) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
		case trimmed[0] == '[' && strings.HasSuffix(trimmed, "]"):
			section = trimmed[1 : len(trimmed)-1]
		default:
			if key, value, ok := strings.Cut(trimmed, "="); ok {
				at := conf.Position{File: name, Line: n, Column: strings.Index(line, trimmed[:1]) + 1}
				all = append(all, setting{section, strings.TrimSpace(key), strings.TrimSpace(value), at})
			}
		}
	})
	return all
}

// ParseMountUnit reads a systemd.mount(5) called unit; ok: it says what it mounts.
func ParseMountUnit(name, unit string, text []byte) (m Mount, ok bool) {
	m = Mount{Unit: unit}
	for _, s := range parseUnit(name, text) {
		if s.section != "Mount" {
			continue
		}
		switch s.key {
		case "What":
			m.What, m.At, ok = strings.ReplaceAll(s.value, "%%", "%"), s.at, s.value != ""
		case "Where":
			m.Where = s.value
		case "Options":
			m.Options = strings.FieldsFunc(s.value, func(r rune) bool { return r == ',' || r == ' ' })
		}
	}
	return m, ok
}

// ParseWatchdog finds RuntimeWatchdogSec in a systemd-system.conf(5).
func ParseWatchdog(name string, text []byte) (s Setting, ok bool) {
	for _, one := range parseUnit(name, text) {
		if one.section == "Manager" && one.key == "RuntimeWatchdogSec" {
			s, ok = Setting{one.value, one.at}, true
		}
	}
	return s, ok
}

// ParseVersion reads the major version out of /proc/drbd or /sys/module/drbd/version; 0: it is not there.
func ParseVersion(text []byte) int {
	var major, minor int
	line := strings.TrimPrefix(string(text[:min(len(text), 200)]), "version: ")
	if n, _ := fmt.Sscanf(line, "%d.%d", &major, &minor); n < 2 || major < 0 || major > 1000 {
		return 0
	}
	return major
}
