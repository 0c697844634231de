package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/atomicfile"
	"kvmctl/internal/smallfile"
	"kvmctl/internal/units"
)

// State is what a start wrote down for later commands. It describes; whether the guest runs is for FindOwner to say. Every table of
// guests reads it, so it is short: what is long has a file of its own.
type State struct {
	Version int        `json:"version"`
	Run     string     `json:"run"`  // names this run in the history
	Boot    string     `json:"boot"` // the host's boot id
	UID     int        `json:"uid"`
	Started time.Time  `json:"started"`
	Memory  units.Size `json:"memory"`
	CPUs    int        `json:"cpus"`
	Accel   Accel      `json:"accel"`
	VNC     string     `json:"vnc,omitempty"` // address:port, or "unix:" and a path
	QEMU    string     `json:"qemu"`          // version
	Agent   bool       `json:"agent"`
	Custom  bool       `json:"custom"`
	Ready   string     `json:"ready,omitempty"`   // the sign of readiness, where one is configured
	Starter string     `json:"starter,omitempty"` // "kvm.service": nobody typed it
	MACs    []string   `json:"macs,omitempty"`
	Bridges []string   `json:"bridges,omitempty"`
	Digest  string     `json:"digest,omitempty"` // of what holds now (Spec.Digest); another one of vm.toml's is a pending change
	Unseen  bool       `json:"unseen,omitempty"` // QEMU has more memory or CPUs than the guest is known to see

	Install  string `json:"install,omitempty"`  // the CD that this run boots first, once
	Restored string `json:"restored,omitempty"` // the file that the guest was restored from
}

const stateVersion = 1

// maxState bounds the small files that we wrote under /run, in bytes.
const maxState = 64 << 10

func (l Layout) loadState(name string) (*State, error) {
	b, err := smallfile.Read(l.run(name, stateName), maxState)
	if err != nil {
		return nil, err
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the state of %s: %w", name, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("read the state of %s: version %d is not one that this kvmctl knows", name, s.Version)
	}
	return &s, nil
}

func (l Layout) saveState(name string, s *State) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(l.run(name, stateName), b, 0o600)
}

// StartedArgv gives the command line that a running guest's QEMU was started with.
func (l Layout) StartedArgv(name string) (argv []string, err error) {
	b, err := smallfile.Read(l.run(name, argvName), maxArgv)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &argv); err != nil {
		return nil, fmt.Errorf("read the command line of %s: %w", name, err)
	}
	return argv, nil
}

// maxArgv is what the kernel allows a process's arguments (execve(2), with the usual stack limit).
const maxArgv = 2 << 20

func (l Layout) saveArgv(name string, argv []string) error {
	b, err := json.Marshal(argv)
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(l.run(name, argvName), b, 0o600)
}

// MakeDirs makes a directory and what is missing above it, whatever the umask: perm for the last one, 0755 for those above.
func MakeDirs(path string, perm fs.FileMode) error {
	st, err := os.Stat(path)
	if err == nil && st.IsDir() {
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := MakeDirs(parent, 0o755); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil // another kvmctl was faster
		}
		return fmt.Errorf("make a directory: %w", err)
	}
	return os.Chmod(path, perm)
}

// ClosedDirError says that a directory keeps the guest's uid from its pidfile, whose path QEMU resolves (util/oslib-posix.c).
type ClosedDirError struct{ Dir string }

func (e *ClosedDirError) Error() string {
	return "the guest's uid has no way through " + e.Dir + " to its pidfile"
}

// Hint opens the way and nothing else.
func (e *ClosedDirError) Hint() string { return "chmod o+x " + e.Dir }

// reachable makes sure that every directory down to dir lets others through.
func reachable(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o001 == 0 {
			return &ClosedDirError{dir}
		}
		if dir == "/" {
			return nil
		}
	}
}

// makeRunDir makes a guest's run directory afresh: two small tmpfs that bound what the guest can make QEMU write, and the pidfile,
// the only thing that belongs to the guest's uid.
func (l Layout) makeRunDir(name string, uid int, recorder, console units.Size) error {
	dir := l.RunDir(name)
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the run directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // whatever the umask
		return fmt.Errorf("make the run directory: %w", err)
	}
	for sub, size := range map[string]units.Size{recDirName: recorder, conDirName: console} {
		path := filepath.Join(dir, sub)
		if err := os.Mkdir(path, 0o700); err != nil {
			return fmt.Errorf("make the log directory: %w", err)
		}
		opts := "mode=0700,size=" + strconv.FormatInt(int64(size), 10)
		if err := unix.Mount("kvmctl", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, opts); err != nil {
			return fmt.Errorf("mount a tmpfs of %v on %s: %w", size, path, err)
		}
	}
	f, err := os.OpenFile(l.Pidfile(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make the pidfile: %w", err)
	}
	defer f.Close()
	if err := f.Chown(uid, uid); err != nil {
		return fmt.Errorf("make the pidfile: %w", err)
	}
	return nil
}

// removeRunDir undoes makeRunDir, however far that came. The caller has proved that no QEMU uses it.
func (l Layout) removeRunDir(name string) error {
	dir := l.RunDir(name)
	for _, sub := range []string{recDirName, conDirName, vncDirName} {
		path := filepath.Join(dir, sub)
		for { // more than one mount may be stacked if a start was killed in a bad moment
			err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
				break
			}
			if err != nil {
				return fmt.Errorf("unmount %s: %w", path, err)
			}
		}
	}
	var err error
	for range 3 { // another kvmctl that only looks may just have made a lock file in it
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
	}
	return fmt.Errorf("remove the run directory: %w", err)
}

// listen binds a stream socket of ours; QEMU gets it as a descriptor. Through the directory's descriptor the path may be of any length.
func listen(path string) (*os.File, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), path)
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: short}); err != nil {
		f.Close()
		return nil, fmt.Errorf("bind %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		f.Close()
		return nil, err
	}
	if err := unix.Listen(fd, 8); err != nil {
		f.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return f, nil
}

// bootID names this boot of the host (proc(5)).
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) < 36 {
		return "unknown"
	}
	return string(b[:36])
}
