package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// hook names one of a guest's hooks.
type hook string

const (
	hookPreStart  hook = "pre_start"
	hookPostStart hook = "post_start"
	hookPreStop   hook = "pre_stop"
	hookPostStop  hook = "post_stop"
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
	}
	return ""
}

// maxHookOutput bounds what the history keeps of a hook's words.
const maxHookOutput = 4 << 10

// runHook runs one of the guest's hooks, if it has it, with a timeout that ends its whole process group. The hook learns the guest from
// its environment: KVM_VM, KVM_HOOK, KVM_ROOT.
func (h *Host) runHook(ctx context.Context, spec *Spec, which hook) error {
	path := spec.Hooks.path(which)
	if path == "" {
		return nil
	}
	if err := hookAllowed(path); err != nil {
		return fmt.Errorf("hook %s: %w", which, err)
	}
	ctx, cancel := context.WithTimeout(ctx, spec.Hooks.Timeout)
	defer cancel()
	var out limited
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "KVM_VM=" + spec.Name, "KVM_HOOK=" + string(which), "KVM_ROOT=" + h.Root}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; what it left in the background has our pipe and may keep it
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no end within %v", spec.Hooks.Timeout)
	}
	words := strings.TrimSpace(string(out.kept))
	if err != nil || words != "" {
		reason := words
		if err != nil {
			reason = strings.TrimSpace(err.Error() + ": " + words)
		}
		_ = h.appendFacts(spec.Name, h.HistorySize, false, Fact{Time: time.Now(), Kind: KindHook, Event: string(which), Reason: reason})
	}
	if err != nil {
		if last := words[strings.LastIndexByte(words, '\n')+1:]; last != "" {
			return fmt.Errorf("hook %s (%s): %w: %s", which, path, err, last)
		}
		return fmt.Errorf("hook %s (%s): %w", which, path, err)
	}
	return nil
}

// hookAllowed refuses what somebody other than root could have put there: hooks run as root.
func hookAllowed(path string) error {
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

// limited keeps the first maxHookOutput bytes and takes the rest without a word. (No bytes.Buffer is embedded: io.Copy would go past
// Write, by its ReadFrom.)
type limited struct{ kept []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p[:min(len(p), maxHookOutput-len(l.kept))]...)
	return len(p), nil
}

func (s *starting) preStart(ctx context.Context) error {
	if err := s.h.runHook(ctx, s.spec, hookPreStart); err != nil {
		return err
	}
	if s.spec.Hooks.PreStart != "" { // what it set up, post_stop takes down
		s.onUndo(func() { _ = s.h.runHook(context.WithoutCancel(ctx), s.spec, hookPostStop) }) // its words are in the history
	}
	return nil
}

// postStart cannot fail the start: the guest runs.
func (s *starting) postStart(ctx context.Context) {
	if err := s.h.runHook(ctx, s.spec, hookPostStart); err != nil {
		s.p.Notes = append(s.p.Notes, err.Error())
	}
}
