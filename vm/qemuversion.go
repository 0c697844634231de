package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"syscall"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/runner"
)

// QEMUVersion is what `-version` says of a binary. Asking costs 23 ms, so the answer is kept and trusted as long as the file's
// inode, size and mtime are what they were.
type QEMUVersion struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime_ns"`
	Major int    `json:"major"`
	Minor int    `json:"minor"`
	Micro int    `json:"micro"`
}

func (v QEMUVersion) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// Machine gives the exact machine version that kind ("q35" or "pc") means with this QEMU; another string is exact already.
func (v QEMUVersion) Machine(kind string) string {
	switch kind {
	case "q35":
		return fmt.Sprintf("pc-q35-%d.%d", v.Major, v.Minor)
	case "pc":
		return fmt.Sprintf("pc-i440fx-%d.%d", v.Major, v.Minor)
	}
	return kind
}

// NoQEMUError says that there is no QEMU to run.
type NoQEMUError struct {
	Path string
	Err  error
}

func (e *NoQEMUError) Error() string { return fmt.Sprintf("no usable QEMU at %s: %v", e.Path, e.Err) }
func (e *NoQEMUError) Unwrap() error { return e.Err }

// Hint says how to get one.
func (e *NoQEMUError) Hint() string {
	return "apt-get install qemu-system-x86, or set `qemu = \"/path\"` in kvm.toml"
}

// FindQEMU gives the version of the binary at path, from cache where that still describes it.
func FindQEMU(ctx context.Context, path, cache string) (QEMUVersion, error) {
	st, err := os.Stat(path)
	if err != nil {
		return QEMUVersion{}, &NoQEMUError{path, err}
	}
	want := QEMUVersion{Path: path, Size: st.Size(), MTime: st.ModTime().UnixNano()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		want.Inode = sys.Ino
	}
	var kept QEMUVersion
	if b, err := os.ReadFile(cache); err == nil && json.Unmarshal(b, &kept) == nil {
		want.Major, want.Minor, want.Micro = kept.Major, kept.Minor, kept.Micro
		if want == kept && kept.Major > 0 {
			return kept, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, greetingTime)
	defer cancel()
	out, err := runner.Exec{}.Run(ctx, runner.Command{Argv: []string{path, "-version"}})
	if err != nil {
		return QEMUVersion{}, &NoQEMUError{path, err}
	}
	if out.Exit != 0 {
		return QEMUVersion{}, &NoQEMUError{path, fmt.Errorf("its -version ended with %d: %s", out.Exit, firstLine(string(out.Stderr)))}
	}
	if want.Major, want.Minor, want.Micro, err = parseVersion(string(out.Stdout)); err != nil {
		return QEMUVersion{}, &NoQEMUError{path, err}
	}
	if b, err := json.Marshal(want); err == nil {
		_ = atomicfile.WriteVolatile(cache, b, 0o644) // a cache: without it the next start asks again
	}
	return want, nil
}

var versionLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`version (\d{1,4})\.(\d{1,4})\.(\d{1,4})`) })

func parseVersion(out string) (major, minor, micro int, err error) {
	m := versionLine().FindStringSubmatch(out)
	if m == nil {
		return 0, 0, 0, fmt.Errorf("its -version says %.60q", out)
	}
	major, _ = strconv.Atoi(m[1])
	minor, _ = strconv.Atoi(m[2])
	micro, _ = strconv.Atoi(m[3])
	return major, minor, micro, nil
}
