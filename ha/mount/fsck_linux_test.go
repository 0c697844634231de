package mount

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/runner"
)

// TestAnUncleanFileSystem damages one so that e2fsck repairs it by itself, and one so that it does not.
func TestAnUncleanFileSystem(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage string // for debugfs
		fsck   Fsck
		exit   int // of what refuses it; 0: it is mounted
	}{
		{"a wrong count, preen", "ssv free_blocks_count 7", Preen, 0},
		{"a wrong count, never", "ssv free_blocks_count 7", Never, 0},
		{"no root directory, preen", "clri <2>", Preen, 4},
		{"no root directory, fail", "clri <2>", Fail, 12},
		{"nothing, fail", "ssv state 1", Fail, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, "ext4")
			l.Fsck = tt.fsck
			run(t, "debugfs", "-w", "-R", "ssv state 0", l.Device)
			run(t, "debugfs", "-w", "-R", tt.damage, l.Device)
			err := l.Mounter.Mount(within(t, long), l.Mount)
			if tt.exit == 0 {
				if err != nil {
					t.Error(err)
				}
				l.unmounted()
				return
			}
			var check *CheckError
			if !errors.As(err, &check) {
				t.Fatalf("got %v, want a CheckError", err)
			}
			if check.Exit != tt.exit || check.Hint() != "e2fsck -f "+l.Device || check.Said == "" {
				t.Errorf("got %+v, hint %q", check, check.Hint())
			}
			if ok, err := l.Mounted(l.Mount); ok || err != nil {
				t.Errorf("mounted: %v, %v", ok, err)
			}
			// The person types what the error says, answering yes.
			run(t, "sh", "-c", check.Hint()+" -y; test $? -lt 4")
			l.mounted()
			l.unmounted()
		})
	}
}

func TestAnUncleanXFS(t *testing.T) {
	l := newLab(t, "xfs")
	l.Fsck = Fail
	l.mounted()
	l.unmounted()
	run(t, "xfs_db", "-x", "-c", "agf 1", "-c", "write -d freeblks 7", l.Device)
	var check *CheckError
	if err := l.Mounter.Mount(within(t, long), l.Mount); !errors.As(err, &check) || check.Hint() != "xfs_repair "+l.Device {
		t.Fatalf("got %v", err)
	}
	run(t, "sh", "-c", check.Hint())
	l.mounted()
	l.unmounted()
}

// slow is a check that takes for ever.
type slow struct{ runner.Exec }

func (s slow) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	if c.Argv[0] == "e2fsck" {
		c.Argv = []string{"sleep", "1000"}
	}
	return s.Exec.Run(ctx, c)
}

func TestACheckThatTakesForEver(t *testing.T) {
	l := newLab(t, "ext4")
	l.run = slow{}
	err := l.Mounter.Mount(within(t, 200*time.Millisecond), l.Mount)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "check "+l.Device) {
		t.Errorf("got %v", err)
	}
}

// hung is a mount(8) that the kernel does not let go, whatever signal it is sent, until the channel is closed.
type hung struct {
	runner.Exec
	until chan struct{}
}

func (s hung) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	if c.Argv[0] == "mount" {
		<-s.until
	}
	return s.Exec.Run(context.WithoutCancel(ctx), c)
}

// TestAKernelThatDoesNotComeBack is the device whose I/O is frozen: the call ends all the same, and the next one waits for what is under way.
func TestAKernelThatDoesNotComeBack(t *testing.T) {
	l := newLab(t, "ext4")
	s := hung{until: make(chan struct{})}
	l.run = s
	for range 2 {
		if err := l.Mounter.Mount(within(t, 50*time.Millisecond), l.Mount); !errors.Is(err, ErrHangs) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	close(s.until)
	l.mounted()
	l.unmounted()
}
