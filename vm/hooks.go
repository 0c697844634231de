package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hook names one of the hooks that a guest, and the host for all of its guests, may have.
type hook string

const (
	hookPreStart  hook = "pre_start"
	hookPostStart hook = "post_start"
	hookPreStop   hook = "pre_stop"
	hookPostStop  hook = "post_stop"
	hookOnCrash   hook = "on_crash"
)

func (k Hooks) path(h hook) string {
	switch h {
	case hookPreStart:
		return k.PreStart
	case hookPostStart:
		return k.PostStart
	case hookPreStop:
		return k.PreStop
	case hookPostStop:
		return k.PostStop
	case hookOnCrash:
		return k.OnCrash
	}
	return ""
}

// hookCall is one hook that is to be run.
type hookCall struct {
	Hook    hook          `json:"hook"`
	Host    bool          `json:"host,omitempty"` // of kvm.toml, not of the guest's own file
	Path    string        `json:"path"`
	Timeout time.Duration `json:"timeout_ns"`
}

// String names the hook in errors and in the history.
func (c hookCall) String() string {
	if c.Host {
		return "host " + string(c.Hook)
	}
	return string(c.Hook)
}

// calls gives the hooks of one kind in their order: the host's surround the guest's, first before its start and last after its end.
func (h *Host) calls(own Hooks, which hook) []hookCall {
	var all []hookCall
	if p := h.Hooks.path(which); p != "" {
		all = append(all, hookCall{which, true, p, h.Hooks.Timeout})
	}
	if p := own.path(which); p != "" {
		all = append(all, hookCall{which, false, p, own.Timeout})
	}
	if which != hookPreStart && which != hookPostStart {
		slices.Reverse(all)
	}
	return all
}

// hookNews is what a hook is told beside names.
type hookNews struct {
	State  StateWord // what the guest is at this moment; KVM_EVENT
	Reason string    // how it ended; empty before its end
	PID    int       // of its QEMU, running or not; 0: none yet
}

// env is a hook's whole environment; kvm.toml(5) and vm.toml(5) describe it.
func (n hookNews) env(root, name string, which hook) []string {
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "KVM_VM=" + name, "KVM_HOOK=" + string(which), "KVM_EVENT=" + string(n.State),
		"KVM_ROOT=" + root}
	if n.Reason != "" {
		env = append(env, "KVM_REASON="+strings.ToValidUTF8(strings.ReplaceAll(n.Reason, "\x00", ""), "\uFFFD"))
	}
	if n.PID > 0 {
		env = append(env, "KVM_PID="+strconv.Itoa(n.PID))
	}
	return env
}

// maxHookOutput bounds what the history keeps of a hook's words.
const maxHookOutput = 4 << 10

// runHooks runs hooks one after the other, whatever becomes of each, and gives what failed as notes.
func (h *Host) runHooks(ctx context.Context, name string, calls []hookCall, news hookNews) (notes []string) {
	for _, c := range calls {
		if err := h.runHook(ctx, name, c, news); err != nil {
			notes = append(notes, err.Error())
		}
	}
	return notes
}

// runHook runs one hook with a timeout that ends its whole process group. What it says goes into the history. It dies with us: a hook of a
// kvmctl that was killed must not go on beside the one that the next command begins.
func (h *Host) runHook(ctx context.Context, name string, c hookCall, news hookNews) error {
	if err := HookAllowed(c.Path); err != nil {
		err = fmt.Errorf("%s: %w", c.label(), err)
		if c.Hook != hookPreStart { // whoever types a start is told
			h.noteHook(name, c, err.Error())
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var out, errs hookOutput
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.Dir = "/"
	cmd.Env = news.env(h.Root, name, c.Hook)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	runtime.LockOSThread() // the signal comes when the thread ends that was the parent
	err := cmd.Run()
	runtime.UnlockOSThread()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; what it left in the background has our pipe and may keep it
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no end within %v", c.Timeout)
	}
	words, last := hookWords(&out, &errs)
	switch {
	case err == nil && words != "":
		h.noteHook(name, c, words)
	case err != nil && last != "":
		h.noteHook(name, c, strings.TrimSpace(err.Error()+": "+words))
		return fmt.Errorf("%s (%s): %w: %s", c.label(), c.Path, err, last)
	case err != nil:
		h.noteHook(name, c, strings.TrimSpace(err.Error()+": "+words))
		return fmt.Errorf("%s (%s): %w", c.label(), c.Path, err)
	}
	return nil
}

func (c hookCall) label() string {
	if c.Host {
		return "the host's hook " + string(c.Hook)
	}
	return "hook " + string(c.Hook)
}

// noteHook writes into the history what a hook said; a hook is not undone because that cannot be written.
func (h *Host) noteHook(name string, c hookCall, words string) {
	_ = h.appendFacts(name, h.HistorySize, false, Fact{Time: time.Now(), Kind: KindHook, Event: c.String(), Reason: words})
}

// HookAllowed refuses what somebody other than root could have put there: hooks run as root.
func HookAllowed(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.Mode().IsRegular():
		return &ForeignError{path, "is not a regular file"}
	case !ok || sys.Uid != 0 || st.Mode().Perm()&0o022 != 0:
		return &ForeignError{path, "may be written by others than root"}
	case st.Mode().Perm()&0o100 == 0:
		return fmt.Errorf("%s is not executable", path)
	}
	return onlyRootsPath(path)
}

// onlyRootsPath refuses a path that leads through a directory in which somebody other than root could put another file under the hook's
// name. A sticky directory such as /tmp is let pass where root owns what comes next: nobody else may rename or remove that.
func onlyRootsPath(path string) error {
	for next := path; next != "/"; {
		dir := filepath.Dir(next)
		st, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		open := st.Mode().Perm()&0o022 != 0 && st.Mode()&os.ModeSticky == 0
		if !ok || sys.Uid != 0 || open || st.Mode()&os.ModeSymlink != 0 {
			return &ForeignError{dir, "lies on the way to a hook, and others than root may change it"}
		}
		next = dir
	}
	return nil
}

// preStart asks the hooks whether the guest may start. What is owed to those after its end is written down before the first is begun:
// whatever one sets up, its post_stop takes down, should we be killed at any moment from here on.
func (s *starting) preStart(ctx context.Context) error {
	name := s.spec.Name
	if err := s.h.oweHooks(s.spec, s.runName); err != nil {
		return err
	}
	for _, c := range s.h.calls(s.spec.Hooks, hookPreStart) {
		if err := s.h.runHook(ctx, name, c, hookNews{State: StateStarting}); err != nil {
			return errors.Join(err, s.h.refusedBy(name, c))
		}
	}
	return nil
}

// postStart cannot fail the start: the guest runs.
func (s *starting) postStart(ctx context.Context) {
	calls := s.h.calls(s.spec.Hooks, hookPostStart)
	s.p.Notes = append(s.p.Notes, s.h.runHooks(ctx, s.spec.Name, calls, hookNews{State: StateRunning, PID: s.cmd.Process.Pid})...)
}

// hookOutput keeps the beginning and the end of one stream of a hook's. It takes everything without a word: a hook that talks too much is
// cut short, not killed.
type hookOutput struct {
	mu   sync.Mutex // what the hook left in the background may still write
	kept []byte
	tail []byte
}

// maxLastLine bounds the line that a refused start shows, in bytes.
const maxLastLine = 1 << 10

func (o *hookOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p[:min(len(p), maxHookOutput-len(o.kept))]...)
	o.tail = append(o.tail, p[max(0, len(p)-maxLastLine):]...)
	o.tail = o.tail[max(0, len(o.tail)-maxLastLine):]
	return len(p), nil
}

func (o *hookOutput) text() (kept, last string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last = clean(o.tail)
	return clean(o.kept), last[strings.LastIndexByte(last, '\n')+1:]
}

func clean(b []byte) string { return strings.TrimSpace(strings.ToValidUTF8(string(b), "\uFFFD")) }

// hookWords gives what the history keeps, errors last, and the line that says why: the last of stderr, else of stdout.
func hookWords(out, errs *hookOutput) (all, last string) {
	said, lastSaid := out.text()
	why, last := errs.text()
	if last == "" {
		last = lastSaid
	}
	all = strings.TrimSpace(said + "\n" + why)
	return all[:min(len(all), maxHookOutput)], last
}
