package proc

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// maxPIDFile bounds a pidfile, in bytes; PostgreSQL's has eight lines.
const maxPIDFile = 4 << 10

// ParsePID reads the number in a pidfile's first line.
func ParsePID(b []byte) (int, error) {
	line, _, _ := strings.Cut(string(b), "\n")
	n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no process number", line[:min(len(line), 40)])
	}
	return int(n), nil
}

// Stat is what is used of /proc/PID/stat (proc(5)).
type Stat struct {
	Name  string // at most 15 bytes
	State byte   // R, S, D, T stopped, t traced, Z ended, …
	Start uint64 // in clock ticks since boot
}

// ErrStat says that bytes are not in the form of /proc/PID/stat.
var ErrStat = errors.New("not in the form of /proc/PID/stat")

// ParseStat reads a /proc/PID/stat. The name stands in parentheses and may hold anything, parentheses and line ends too.
func ParseStat(b []byte) (Stat, error) {
	text := string(b)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return Stat{}, ErrStat
	}
	f := strings.Fields(text[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return Stat{}, ErrStat
	}
	start, err := strconv.ParseUint(f[19], 10, 64) // field 22, counted from 1; f begins with field 3
	if err != nil {
		return Stat{}, ErrStat
	}
	return Stat{text[open+1 : end], f[0][0], start}, nil
}

// parseState reads the state alone, of the beginning of a /proc/PID/stat. A name may hold parentheses, but no number follows one as it does the state.
func parseState(b []byte) (byte, error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 || len(b) < end+4 || b[end+1] != ' ' || b[end+2] <= ' ' || b[end+3] != ' ' {
		return 0, ErrStat
	}
	return b[end+2], nil
}

// maxComm is how much the kernel keeps of a process's name (TASK_COMM_LEN without its end).
const maxComm = 15

// named reports whether a process with this comm and executable is the one called name.
func named(name, comm, exe string) bool {
	exe, _ = strings.CutSuffix(exe, " (deleted)") // it was upgraded and runs on
	return filepath.Base(exe) == name || comm == name[:min(len(name), maxComm)]
}
