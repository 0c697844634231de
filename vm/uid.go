package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUIDs bounds the search for a free uid number.
const maxUIDs = 4096

// chooseUID gives the first number whose uid, base + number, nobody uses: no guest's ABI lock, no account, no subordinate range and no
// running process. The caller holds the host's uid lock.
func chooseUID(l Layout, base int) (int, error) {
	taken, err := guestUIDs(l)
	if err != nil {
		return 0, err
	}
	accounts, err := accountUIDs()
	if err != nil {
		return 0, err
	}
	running := map[int]bool{}
	for _, u := range processUIDs() {
		running[u] = true
	}
	for n := 1; n <= maxUIDs; n++ {
		uid := base + n
		if !taken[n] && !running[uid] && !accounts.contains(uid) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("find a free uid: %d … %d are all in use; set another uid_base in kvm.toml", base+1, base+maxUIDs)
}

// guestUIDs reads the numbers that guests have already. A lock that cannot be read is an error: its number is unknown.
func guestUIDs(l Layout) (map[int]bool, error) {
	files, err := filepath.Glob(filepath.Join(globEscape(l.LibDir()), "*", "abi.lock"))
	if err != nil {
		return nil, err
	}
	taken := map[int]bool{}
	for _, f := range files {
		a, err := LoadABI(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		taken[a.UID] = true
	}
	return taken, nil
}

func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// HasUID tells whether a uid is one that a guest of this host may get.
func (h *Host) HasUID(uid int) bool { return uid > h.UIDBase && uid <= h.UIDBase+maxUIDs }

type uidRange struct{ first, count int }

type uidRanges []uidRange

func (r uidRanges) contains(uid int) bool {
	for _, x := range r {
		if uid >= x.first && uid-x.first < x.count {
			return true
		}
	}
	return false
}

// accountFiles are where ids are given away, with the columns of the first id and of the count; -1: one.
var accountFiles = map[string][2]int{"/etc/passwd": {2, -1}, "/etc/group": {2, -1}, "/etc/subuid": {1, 2}, "/etc/subgid": {1, 2}}

// accountsChangedSince tells whether ids may have been given away since a file was written.
func accountsChangedSince(path string) bool {
	var then, now unix.Stat_t
	if unix.Stat(path, &then) != nil {
		return true
	}
	for file := range accountFiles {
		if err := unix.Stat(file, &now); err == nil && now.Ctim.Nano() >= then.Mtim.Nano() || err != nil && !errors.Is(err, unix.ENOENT) {
			return true
		}
	}
	return false
}

// accountUIDs gives the uids and gids of local accounts and the ranges handed to users' own namespaces (subuid(5)).
func accountUIDs() (uidRanges, error) {
	var all uidRanges
	for file, columns := range accountFiles {
		f, err := os.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ranges, err := parseAccounts(f, columns[0], columns[1])
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		all = append(all, ranges...)
	}
	return all, nil
}

// maxAccountLine bounds a line of an account file; a group's line names all its members.
const maxAccountLine = 1 << 20

// parseAccounts reads lines of fields between colons: the first id stands in one column, the count in another or (-1) is 1. Lines
// that are nothing of the kind are passed over.
func parseAccounts(r io.Reader, first, count int) (uidRanges, error) {
	var all uidRanges
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxAccountLine)
	for s.Scan() {
		fields := strings.Split(s.Text(), ":")
		if len(fields) <= max(first, count) {
			continue
		}
		x := uidRange{count: 1}
		var err1, err2 error
		x.first, err1 = strconv.Atoi(fields[first])
		if count >= 0 {
			x.count, err2 = strconv.Atoi(fields[count])
		}
		if err1 == nil && err2 == nil && x.first >= 0 && x.count > 0 {
			all = append(all, x)
		}
	}
	return all, s.Err()
}

// processUIDs maps every running process to its owner. A process that ends meanwhile is left out.
func processUIDs() map[int]int {
	owners := map[int]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if uid, err := realUID(pid); err == nil {
			owners[pid] = uid
		}
	}
	return owners
}

// killAll ends the processes of a guest's uid that write their errors to the guest's own log: a QEMU, or what was about to become one, that a killed
// kvmctl left behind before it could lock its pidfile. Whatever else may run as that uid by now is not ours.
func killAll(uid int, stderr string) error {
	log, err := os.Stat(stderr)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing was executed yet
	}
	if err != nil {
		return err
	}
	for pid, owner := range processUIDs() {
		if owner != uid {
			continue
		}
		p, err := openProcess(pid)
		if errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return err
		}
		err = p.killIf(uid, log)
		p.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// killIf looks at the process behind the handle: the pid may have changed hands since it was listed.
func (p *Process) killIf(uid int, log os.FileInfo) error {
	now, err := realUID(p.PID)
	if err != nil || now != uid {
		return nil
	}
	out, err := os.Stat("/proc/" + strconv.Itoa(p.PID) + "/fd/2")
	if err != nil || !os.SameFile(out, log) {
		return nil
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	if !p.waitPlain(rungTime) {
		return &StuckError{PID: p.PID}
	}
	return nil
}
