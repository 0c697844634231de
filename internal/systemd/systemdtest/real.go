package systemdtest

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvmctl/internal/testenv"
)

// Real is a real systemd: a user manager, which has the interface of PID 1's, with units of the test's only.
type Real struct {
	Socket  string
	Process *os.Process // to be stopped, continued, or killed

	dir    string // of units
	cgroup string
	log    string
}

// frame are the targets that every unit refers to.
var frame = map[string]string{"default.target": "[Unit]\n", "basic.target": "[Unit]\n", "shutdown.target": "[Unit]\n", "exit.target": "[Unit]\nDefaultDependencies=no\n"}

// NewReal starts a systemd with these units, by name, that ends with the test and takes along what it started. It needs root for a /run and a
// cgroup of its own.
func NewReal(t testing.TB, units map[string]string) *Real {
	t.Helper()
	testenv.Need(t, testenv.Netns, "/lib/systemd/systemd", "unshare")
	home := t.TempDir()
	r := &Real{dir: filepath.Join(home, ".config/systemd/user"), cgroup: ownCgroup(t), log: filepath.Join(home, "log")}
	runtime, err := os.MkdirTemp("", "sd") // short: the path of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	r.Socket = filepath.Join(runtime, "systemd/private")
	if err := errors.Join(os.MkdirAll(r.dir, 0o755), os.Mkdir(filepath.Join(r.dir, "default.target.wants"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, text := range frame {
		r.Write(t, name, text)
	}
	for name, text := range units {
		r.Write(t, name, text)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		`echo $$ >"$0/cgroup.procs" && mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec /lib/systemd/systemd --user`, r.cgroup)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "XDG_RUNTIME_DIR=" + runtime, "SYSTEMD_UNIT_PATH=" + r.dir,
		"SYSTEMD_LOG_TARGET=console", "SYSTEMD_LOG_LEVEL=info"}
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log // a file: nobody waits for what its services keep open
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Process = cmd.Process
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		r.killAll(t)
		_ = os.RemoveAll(runtime)
		if t.Failed() {
			said, _ := os.ReadFile(r.log)
			t.Logf("systemd said:\n%s", said)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", r.Socket); err == nil {
			_ = c.Close()
			return r
		} else if time.Now().After(deadline) {
			t.Fatalf("systemd has not come up: %v", err)
		}
	}
}

// Write makes a unit; one that systemd has read before needs a reload.
func (r *Real) Write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Enable has a unit started at "boot".
func (r *Real) Enable(t testing.TB, name string) {
	t.Helper()
	if err := os.Symlink(filepath.Join(r.dir, name), filepath.Join(r.dir, "default.target.wants", name)); err != nil {
		t.Fatal(err)
	}
}

// Systemctl runs systemctl --user with args, which has to end well, and gives its output.
func (r *Real) Systemctl(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", append([]string{"--user"}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR=" + filepath.Dir(filepath.Dir(r.Socket))}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ownCgroup makes one below this process's own in the hierarchy that systemd uses.
func ownCgroup(t testing.TB) string {
	t.Helper()
	for _, base := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"} { // hybrid, legacy, unified (cgroups(7))
		if _, err := os.Stat(base + "/cgroup.procs"); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(base, "kvmctl-test-")
		if err != nil {
			testenv.Cannot(t, "systemd cannot run here: "+err.Error())
		}
		return dir
	}
	testenv.Cannot(t, "systemd cannot run here: no cgroup file system")
	return ""
}

// killAll ends every process in the cgroup, again and again until there is none, and removes it.
func (r *Real) killAll(t testing.TB) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		var dirs []string
		_ = filepath.WalkDir(r.cgroup, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil // it goes while we look
			}
			dirs = append(dirs, path)
			b, _ := os.ReadFile(path + "/cgroup.procs")
			for _, f := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 1 && pid != os.Getpid() {
					left++
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0 && left == 0; i-- {
			_ = os.Remove(dirs[i])
		}
		if _, err := os.Stat(r.cgroup); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d processes are left in %s", left, r.cgroup)
			return
		}
	}
	// In the hybrid setup systemd mirrors its tree in the hierarchies of version 1.
	mirrors, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(r.cgroup))
	for _, m := range mirrors {
		var dirs []string
		_ = filepath.WalkDir(m, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i])
		}
	}
}
