package mount

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/proc"
	"kvmctl/internal/runner"
)

// The steps of an agent that is killed.
const (
	beforeCheck  = "before the check"
	beforeMount  = "before mount(8)"
	afterMount   = "after mount(8)"
	afterTerm    = "after SIGTERM"
	afterUnmount = "after the unmount"
)

// dying is a Runner, a signal and an unmount of an agent that is killed at a step.
type dying struct {
	runner.Exec
	at string
}

func (d dying) step(name string) {
	if name == d.at {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
}

func (d dying) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	d.step(map[string]string{"e2fsck": beforeCheck, "mount": beforeMount}[c.Argv[0]])
	r, err := d.Exec.Run(ctx, c)
	if c.Argv[0] == "mount" {
		d.step(afterMount)
	}
	return r, err
}

// doomed is that agent.
func doomed(args []string) error {
	m := Mount{Device: args[1], Dir: args[2], Type: "ext4"}
	d := dying{at: args[0]}
	x := New(d)
	x.here.signal = func(p *proc.Process, sig unix.Signal) error {
		defer d.step(afterTerm)
		return p.Signal(sig)
	}
	x.here.umount = func(dir string) error {
		err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			d.step(afterUnmount)
		}
		return err
	}
	if d.at == afterTerm || d.at == afterUnmount {
		_, err := x.Unmount(context.Background(), m, true)
		return errors.Join(err, errors.New("it was not killed"))
	}
	return errors.Join(x.Mount(context.Background(), m), errors.New("it was not killed"))
}

// TestAnAgentThatIsKilled is killed at each step of Mount and Unmount; what the next one does comes to the same end.
func TestAnAgentThatIsKilled(t *testing.T) {
	for _, step := range []string{beforeCheck, beforeMount, afterMount, afterTerm, afterUnmount} {
		t.Run(step, func(t *testing.T) {
			l := newLab(t, "ext4")
			demotes := step == afterTerm || step == afterUnmount
			if demotes {
				l.mounted()
				l.Grace = 100 * time.Millisecond
				holder(t, "space")
				holder(t, "deaf", l.Dir)
			}
			cmd := exec.Command("/proc/self/exe", step, l.Device, l.Dir)
			cmd.Env = append(os.Environ(), actEnv+"=doomed")
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Error() != "signal: killed" {
				t.Fatalf("%v\n%s", err, out)
			}
			if !demotes {
				l.mounted()
			}
			l.unmounted()
		})
	}
}
