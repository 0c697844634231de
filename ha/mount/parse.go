package mount

import (
	"strconv"
	"strings"

	"kvmctl/internal/mountinfo"
)

// maxCgroup bounds a /proc/PID/cgroup, in bytes.
const maxCgroup = 64 << 10

// parseUnit finds in a /proc/PID/cgroup (cgroups(7)) the systemd unit that the process belongs to: the first part of its path in systemd's
// hierarchy, or the unified one, that is no slice. Empty: none.
func parseUnit(cgroup string) string {
	unit := ""
	for line := range strings.SplitSeq(cgroup, "\n") {
		_, rest, _ := strings.Cut(line, ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok || controllers != "" && controllers != "name=systemd" {
			continue
		}
		if u := unitOf(path); u != "" {
			unit = u
		}
		if controllers != "" && unit != "" {
			return unit
		}
	}
	return unit
}

// unitOf gives the unit in a cgroup's path.
func unitOf(path string) string {
	for part := range strings.SplitSeq(path, "/") {
		part = strings.TrimPrefix(part, "_") // systemd escapes names that the kernel could take for files of its own
		switch {
		case part == "" || part == ".." || strings.HasSuffix(part, ".slice"):
			continue
		case unitName(part):
			return part
		}
		return ""
	}
	return ""
}

// unitName reports whether s is the name of a unit of processes: up to 255 letters, digits and :-_.\@ (systemd.unit(5)).
func unitName(s string) bool {
	if len(s) > 255 || strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune(`:-_.\@`, r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return false
	}
	for _, kind := range []string{".service", ".scope", ".socket", ".mount", ".swap"} {
		if before, ok := strings.CutSuffix(s, kind); ok {
			return before != ""
		}
	}
	return false
}

// parseSpace reads what a link to a mount namespace says: "mnt:[4026531841]".
func parseSpace(s string) (uint64, bool) {
	s, ok := strings.CutPrefix(s, "mnt:[")
	s, end := strings.CutSuffix(s, "]")
	id, err := strconv.ParseUint(s, 10, 64)
	return id, ok && end && err == nil
}

// parseMapping reads the device and the path of a line of /proc/PID/maps (proc_pid_maps(5)): address, permissions, offset, device as two
// hexadecimal numbers, inode, and the path after blanks. False: it maps no file.
func parseMapping(line string) (number, string, bool) {
	f := strings.SplitN(line, " ", 6)
	if len(f) != 6 || f[4] == "0" {
		return number{}, "", false
	}
	a, b, ok := strings.Cut(f[3], ":")
	major, aerr := strconv.ParseUint(a, 16, 32)
	minor, berr := strconv.ParseUint(b, 16, 32)
	if !ok || aerr != nil || berr != nil {
		return number{}, "", false
	}
	return number{uint32(major), uint32(minor)}, strings.TrimLeft(f[5], " "), true
}

// export is what the kernel's NFS server lets clients have.
type export struct{ path, client string }

// Bounds of a /proc/fs/nfsd/exports, in bytes and in lines.
const (
	maxExports     = 4 << 20
	maxExportLines = 1 << 16
)

// parseExports reads a /proc/fs/nfsd/exports (nfsd(7)): a path, a tab, and a client with its options in parentheses. Lines that begin with #
// are no exports, and one in another form is passed over: it must not keep the others from being seen.
func parseExports(s string) []export {
	var all []export
	for line := range strings.SplitSeq(s, "\n") {
		path, client, ok := strings.Cut(line, "\t")
		if !ok || !strings.HasPrefix(path, "/") || len(all) >= maxExportLines {
			continue
		}
		client, _, _ = strings.Cut(client, "(")
		all = append(all, export{mountinfo.Unescape(path), mountinfo.Unescape(client)})
	}
	return all
}

// maxSwaps bounds a /proc/swaps, in bytes; the kernel has room for some thirty of them.
const maxSwaps = 1 << 20

// parseSwaps reads the paths of a /proc/swaps (proc_swaps(5)): the first of five fields, below a line of titles.
func parseSwaps(s string) []string {
	var all []string
	for line := range strings.SplitSeq(s, "\n") {
		path, rest, _ := strings.Cut(line, " ")
		if before, after, tab := strings.Cut(path, "\t"); tab {
			path, rest = before, after+rest
		}
		if strings.HasPrefix(path, "/") && rest != "" {
			all = append(all, mountinfo.Unescape(path))
		}
	}
	return all
}
