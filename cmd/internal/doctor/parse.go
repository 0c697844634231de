package doctor

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"

	"kvmctl/internal/units"
)

// MaxFile bounds what is read of any file of /proc, /sys and /etc, in bytes.
const MaxFile = 4 << 20

// lines gives the lines of a file; one of more than 1 MiB ends it.
func lines(r io.Reader, each func(string)) {
	s := bufio.NewScanner(io.LimitReader(r, MaxFile))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		each(s.Text())
	}
}

// ParseAccounts reads passwd(5), group(5) and subuid(5): the name stands first, the first id in one column, the count in another, or it is
// 1 (count -1). Lines that are nothing of the kind are passed over.
func ParseAccounts(file string, r io.Reader, first, count int) []Account {
	var all []Account
	lines(r, func(line string) {
		fields := strings.Split(line, ":")
		if len(fields) <= max(first, count) || strings.HasPrefix(line, "#") {
			return
		}
		a := Account{File: file, Name: fields[0], Count: 1}
		var err1, err2 error
		a.First, err1 = strconv.Atoi(fields[first])
		if count >= 0 {
			a.Count, err2 = strconv.Atoi(fields[count])
		}
		if err1 == nil && err2 == nil && a.First >= 0 && a.Count > 0 && a.First <= maxUID && a.Count <= maxUID {
			all = append(all, a)
		}
	})
	return all
}

// maxUID is the last of the kernel's 32 bits.
const maxUID = 1<<32 - 1

// ParseStat reads the name and the state in /proc/<pid>/stat (proc(5)): "2850 (name) S …", where the name may hold anything.
func ParseStat(b []byte) (name string, state byte, ok bool) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open || len(b) < end+3 || b[end+1] != ' ' {
		return "", 0, false
	}
	return string(b[open+1 : end]), b[end+2], true
}

// ParseUID reads the real uid in /proc/<pid>/status.
func ParseUID(b []byte) (int, bool) {
	uid, ok := 0, false
	lines(bytes.NewReader(b), func(line string) {
		rest, is := strings.CutPrefix(line, "Uid:")
		if fields := strings.Fields(rest); is && !ok && len(fields) > 0 {
			n, err := strconv.Atoi(fields[0])
			uid, ok = n, err == nil && n >= 0
		}
	})
	if !ok {
		return 0, false
	}
	return uid, true
}

// maxCommand bounds a command line in a finding, in letters.
const maxCommand = 120

// ParseCommand words /proc/<pid>/cmdline: arguments between NULs.
func ParseCommand(b []byte) string {
	s := strings.ToValidUTF8(strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")), "\uFFFD")
	if r := []rune(s); len(r) > maxCommand {
		return string(r[:maxCommand]) + "…"
	}
	return s
}

// Meminfo is what matters of /proc/meminfo.
type Meminfo struct{ Total, CommitLimit, HugeFree units.Size }

// ParseMeminfo reads /proc/meminfo: "MemTotal:  16 kB".
func ParseMeminfo(r io.Reader) (m Meminfo) {
	var hugeFree, hugeSize int64
	lines(r, func(line string) {
		key, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil || n < 0 || n > 1<<40 {
			return
		}
		switch key {
		case "MemTotal":
			m.Total = units.Size(n) * units.KiB
		case "CommitLimit":
			m.CommitLimit = units.Size(n) * units.KiB
		case "HugePages_Free":
			hugeFree = min(n, 1<<30)
		case "Hugepagesize":
			hugeSize = min(n, 1<<21)
		}
	})
	m.HugeFree = units.Size(hugeFree*hugeSize) * units.KiB
	if m.HugeFree < 0 {
		m.HugeFree = 0
	}
	return m
}

// ParseCPUFlags reads the flags of the first CPU in /proc/cpuinfo.
func ParseCPUFlags(r io.Reader) (f CPUFlags) {
	done := false
	lines(r, func(line string) {
		key, rest, ok := strings.Cut(line, ":")
		if done || !ok || strings.TrimSpace(key) != "flags" {
			return
		}
		done = true
		for _, flag := range strings.Fields(rest) {
			switch flag {
			case "vmx":
				f.VMX = true
			case "svm":
				f.SVM = true
			case "hypervisor":
				f.Hypervisor = true
			}
		}
	})
	return f
}

// ParseTmpfs gives from /proc/self/mountinfo (proc(5)) the tmpfs of runs, which kvmctl mounts under its own name, below runRoot.
func ParseTmpfs(r io.Reader, runRoot string) []Mount {
	var all []Mount
	lines(r, func(line string) {
		before, after, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(kind) < 2 || kind[0] != "tmpfs" || kind[1] != "kvmctl" {
			return
		}
		point := unescape(fields[4])
		rest, ok := strings.CutPrefix(point, runRoot+"/")
		if guest, _, is := strings.Cut(rest, "/"); ok && is && guest != "" && guest[0] != '.' {
			all = append(all, Mount{Point: point, Guest: guest})
		}
	})
	return all
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
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

// ParseTUN gives the interface of an open TAP from /proc/<pid>/fdinfo/<fd>: "iff:\tkv70001.0".
func ParseTUN(b []byte) (name string) {
	lines(bytes.NewReader(b), func(line string) {
		if rest, ok := strings.CutPrefix(line, "iff:"); ok {
			name = strings.TrimSpace(rest)
		}
	})
	return name
}

// ParseTAP gives the uid in the name of a guest's TAP: "kv70001.0".
func ParseTAP(name string) (uid int, ok bool) {
	rest, ours := strings.CutPrefix(name, "kv")
	number, _, nic := strings.Cut(rest, ".")
	uid, err := strconv.Atoi(number)
	return uid, ours && nic && err == nil && uid > 0
}

// ParsePidfile gives the argument of -pidfile in /proc/<pid>/cmdline of a QEMU; "": there is none.
func ParsePidfile(cmdline string) string {
	words := strings.Split(cmdline, "\x00")
	if i := slices.Index(words, "-pidfile"); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}
