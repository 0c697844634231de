package accel

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestADeviceThatIsNotKVM(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("file"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", path("loop")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		device string
		cause  Cause
		reason string
	}{
		{"missing", path("none"), Missing, "no " + path("none")},
		{"a regular file", path("file"), NotKVM, path("file") + ": not KVM (inappropriate ioctl for device)"},
		{"a FIFO", path("fifo"), NotKVM, path("fifo") + ": not KVM (inappropriate ioctl for device)"},
		{"a directory", dir, NotKVM, dir + ": is a directory"},
		{"a symlink to itself", path("loop"), NotKVM, path("loop") + ": too many levels of symbolic links"},
		{"another character device", "/dev/null", NotKVM, "/dev/null: not KVM (inappropriate ioctl for device)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Probe(t.Context(), tt.device)
			if got.Checked.IsZero() {
				t.Error("verdict without its time")
			}
			got.Checked = time.Time{}
			if diff := cmp.Diff(Verdict{Cause: tt.cause, Reason: tt.reason}, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADeviceThatIsNotForUs(t *testing.T) {
	device := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(device, nil, 0); err != nil {
		t.Fatal(err)
	}
	// Root may open anything, so this thread gives that right up; it ends with its goroutine, never unlocked.
	verdict := make(chan Verdict)
	go func() {
		runtime.LockOSThread()
		unix.Setfsuid(65534)
		verdict <- Probe(context.Background(), device)
	}()
	got := <-verdict
	got.Checked = time.Time{}
	if diff := cmp.Diff(Verdict{Cause: Denied, Reason: device + ": permission denied"}, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

func TestAContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := Probe(ctx, Device)
	got.Checked = time.Time{}
	if diff := cmp.Diff(Verdict{Cause: Interrupted, Reason: "the probe was interrupted: context canceled"}, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

// haveKVM reports whether this machine has a /dev/kvm that answers. Without one, what the probe says of it is all there
// is to test, and the caller is done.
func haveKVM(t *testing.T) bool {
	t.Helper()
	fd, v, ok := open(Device)
	if !ok {
		t.Logf("no KVM to run the guest on: %s", v.Reason)
		return false
	}
	unix.Close(fd)
	return true
}

// The guest, its page tables and its exits are right: with time enough the program ends as it should, on hardware as
// well as where each instruction is emulated (1.2 to 2 s there).
func TestTheGuestEndsRightGivenTime(t *testing.T) {
	if !haveKVM(t) {
		return
	}
	got := probe(t.Context(), Device, 60*time.Second)
	t.Logf("%d turns took %v", turns, got.Took)
	if got.Took <= 0 {
		t.Errorf("took %v", got.Took)
	}
	got.Took, got.Checked = 0, time.Time{}
	if diff := cmp.Diff(Verdict{Usable: true, Cause: Proved}, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

// The verdict within the limit is what the time of the whole program says: usable where it is fast, not where it is slow.
func TestTheVerdictFollowsTheTime(t *testing.T) {
	if !haveKVM(t) {
		return
	}
	whole := probe(t.Context(), Device, 60*time.Second).Took
	got := Probe(t.Context(), Device)
	t.Logf("whole program %v; verdict %+v", whole, got)
	switch {
	case whole > 10*limit && (got.Usable || got.Cause != Slow && got.Cause != Busy):
		t.Errorf("verdict %+v although the program takes %v", got, whole)
	case whole < limit/10 && !got.Usable && got.Cause != Busy:
		t.Errorf("verdict %+v although the program takes %v", got, whole)
	}
}

func TestFiftyProbesAgreeAreShortAndLeaveNothing(t *testing.T) {
	Probe(t.Context(), Device) // the runtime's own threads and arenas
	before := usage(t)
	var verdicts []Verdict
	var took []time.Duration
	for range 50 {
		start := time.Now()
		verdicts = append(verdicts, Probe(t.Context(), Device))
		took = append(took, time.Since(start))
	}
	after := usage(t)
	slices.Sort(took)
	t.Logf("last verdict %+v; median %v, longest %v; before %+v, after %+v", verdicts[49], took[25], took[49], before, after)
	for _, v := range verdicts {
		if v.Usable != verdicts[0].Usable {
			t.Errorf("verdicts differ: %+v and %+v", verdicts[0], v)
		}
	}
	if took[25] > 2*limit+20*time.Millisecond {
		t.Errorf("median %v: want the limit of %v, at most twice", took[25], limit)
	}
	if after.fds != before.fds {
		t.Errorf("%d fds before, %d after", before.fds, after.fds)
	}
	if after.shared != 0 {
		t.Errorf("%d shared mappings left", after.shared)
	}
	if after.threads > before.threads+8 {
		t.Errorf("%d threads before, %d after 50 probes", before.threads, after.threads)
	}
}

type resources struct{ fds, shared, threads int }

// usage counts what this process holds. Shared mappings are KVM's and the guest's memory: the Go runtime makes none.
func usage(t *testing.T) resources {
	t.Helper()
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	r := resources{fds: count("/proc/self/fd"), threads: count("/proc/self/task")}
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasSuffix(f[1], "s") {
			r.shared++
		}
	}
	return r
}

// endless runs a guest of 2³² turns, which no host ends within the limits used here, and gives its outcome.
func endless(ctx context.Context, t *testing.T, limit time.Duration, meanwhile func(tid int)) outcome {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, v, ok := open(Device)
	if !ok {
		t.Fatal(v.Reason)
	}
	defer unix.Close(fd)
	m, err := newMachine(fd, program(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	}()
	meanwhile(unix.Gettid())
	return m.turn(ctx, limit)
}

func TestAnEndlessGuestIsStopped(t *testing.T) {
	if !haveKVM(t) {
		return
	}
	tests := []struct {
		name  string
		limit time.Duration
		ctx   time.Duration
		ended time.Duration
	}{
		{"by the limit", 30 * time.Millisecond, time.Minute, 30 * time.Millisecond},
		{"by a limit that is over before it begins", 0, time.Minute, 0},
		{"by the context", time.Minute, 40 * time.Millisecond, 40 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), tt.ctx)
			defer cancel()
			o := endless(ctx, t, tt.limit, func(int) {})
			least := time.Since(began) // the context may have run for a while when the guest begins
			if !o.kicked || o.err != nil || len(o.exits) != 0 {
				t.Fatalf("outcome %+v: want kicked", o)
			}
			// The upper bound is generous for a loaded machine, and far below what 2³² turns take.
			if least < tt.ended-time.Millisecond || o.took > tt.ended+900*time.Millisecond {
				t.Errorf("stopped after %v, want %v", o.took, tt.ended)
			}
		})
	}
}

// A SIGURG that is not the kicker's, as Go's runtime sends at will, must not end the guest early.
func TestAStraySignalDoesNotEndTheGuest(t *testing.T) {
	if !haveKVM(t) {
		return
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	const limit = 200 * time.Millisecond
	o := endless(t.Context(), t, limit, func(tid int) {
		go func() {
			defer close(stopped)
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					unix.Tgkill(unix.Getpid(), tid, unix.SIGURG)
				}
			}
		}()
	})
	close(stop)
	<-stopped
	if !o.kicked || o.err != nil || o.took < limit {
		t.Errorf("outcome %+v: want kicked after %v", o, limit)
	}
}
