// Command benchdrbd measures fail-over of storage on two guests with a real DRBD: kvmha, keepalived with notify scripts and Pacemaker, in turn, and prints
// the tables of docs/performance-drbd.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/test/drbdlab"
	"kvmctl/test/guest"
)

// options are what the command line says.
type options struct {
	bin    string // kvmha
	out    string // page to write; "": none
	runs   int    // take-overs of each contender
	idle   time.Duration
	limit  time.Duration // no turn is begun that would not end before
	only   string        // names of what to measure, with commas; "": all
	who    string        // only contenders whose names begin so; "": all
	inside string        // the image of Debian; "": not yet in namespaces of its own
	keep   bool          // say what guests wrote when something fails
}

// String gives the flags that change the figures.
func (o options) String() string {
	s := fmt.Sprintf("-n %d -idle %s", o.runs, o.idle)
	if o.only != "" {
		s += " -only " + o.only
	}
	if o.who != "" {
		s += fmt.Sprintf(" -who %q", o.who)
	}
	return s
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin/kvmha", "the kvmha to measure")
	flag.StringVar(&o.out, "o", "", "write the page with method and tables to this `file`")
	flag.IntVar(&o.runs, "n", 4, "take-overs of each contender")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long CPU at rest is counted")
	flag.DurationVar(&o.limit, "limit", 28*time.Minute, "how long all of it may take")
	flag.StringVar(&o.only, "only", "", "measure only these: "+strings.Join(parts(), ","))
	flag.StringVar(&o.who, "who", "", "measure only contenders whose names begin so")
	flag.StringVar(&o.inside, "inside", "", "for the bench itself")
	flag.BoolVar(&o.keep, "v", false, "show the guests' logs when something fails")
	flag.Parse()
	if flag.NArg() > 0 || o.runs < 1 || o.only+o.who != "" && o.out != "" {
		flag.Usage()
		os.Exit(2)
	}
	for name := range strings.SplitSeq(o.only, ",") {
		if name != "" && !slices.Contains(parts(), name) {
			flag.Usage()
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if o.inside == "" {
		os.Exit(outside(ctx))
	}
	os.Exit(run(ctx, o))
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "bench-drbd: error: %v\n", err)
	return 1
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" bench-drbd: "+format+"\n", args...)
}

// outside gets what needs the network, and runs the bench where its bridge and guests can meet nobody else's and end with it.
func outside(ctx context.Context) int {
	if os.Geteuid() != 0 {
		return fail(errors.New("cannot run: only root may make network namespaces; type: sudo make bench-drbd"))
	}
	l, err := flock.TryLock("/run/kvmha-bench.lock")
	if errors.Is(err, flock.ErrLocked) {
		return fail(errors.New("cannot run: another bench is running, and each would spoil the other's figures"))
	}
	if err != nil {
		return fail(err)
	}
	defer l.Unlock()
	if _, err := guest.Storage(ctx, guest.DefaultDir()); err != nil {
		return fail(err)
	}
	image, err := debian(ctx, filepath.Join(filepath.Dir(guest.DefaultDir()), "benchdrbd"))
	if err != nil {
		return fail(err)
	}
	code, err := enter(ctx, append([]string{"-inside", image}, os.Args[1:]...))
	if err != nil {
		return fail(err)
	}
	return code
}

// bench is one run of everything.
type bench struct {
	o       options
	began   time.Time
	dir     string
	kvmha   []byte // the program
	lines   []byte // cmd/lines
	clients int
	report  report
}

// run gives the exit code: 1 when something failed or a wanted figure was missed.
func run(ctx context.Context, o options) int {
	missed, err := measure(ctx, o)
	if err != nil {
		return fail(err)
	}
	if missed > 0 {
		fmt.Fprintf(os.Stderr, "bench-drbd: error: %d wanted figures were missed\n", missed)
		return 1
	}
	return 0
}

func measure(ctx context.Context, o options) (missed int, err error) {
	b := &bench{o: o}
	if b.o.bin, err = filepath.Abs(o.bin); err != nil {
		return 0, err
	}
	if b.kvmha, err = os.ReadFile(b.o.bin); err != nil {
		return 0, fmt.Errorf("read kvmha (make build makes it): %w", err)
	}
	if b.lines, err = drbdlab.Program(ctx, "kvmctl/test/benchdrbd/cmd/lines"); err != nil {
		return 0, err
	}
	if b.dir, err = os.MkdirTemp("", "benchdrbd"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := plug(); err != nil {
		return 0, err
	}
	b.began = time.Now()
	b.report.machine = describe(ctx, b)
	for _, s := range b.steps() {
		if o.only == "" && s.asked || o.only != "" && !slices.Contains(strings.Split(o.only, ","), s.name) {
			continue
		}
		if e := s.do(ctx); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.name, e))
		}
		if ctx.Err() != nil {
			break
		}
	}
	b.report.machine = append(b.report.machine, fmt.Sprintf("took %s in all", time.Since(b.began).Round(time.Second)))
	fmt.Print(b.report.markdown())
	if err != nil {
		return 0, err
	}
	if o.out != "" {
		if err := b.report.writePage(o.out); err != nil {
			return 0, err
		}
	}
	return b.report.missed(), nil
}

// step is a part of the bench.
type step struct {
	name  string // for -only
	do    func(context.Context) error
	asked bool // only when it is asked for
}

func (b *bench) steps() []step {
	return []step{{"partition", b.partitions, false}, {"recovery", b.recoveries, false}, {"takeover", b.takeovers, false}, {"rest", b.rests, true}} // the one that can be cut short comes last
}

func parts() []string {
	var names []string
	for _, s := range (&bench{}).steps() {
		names = append(names, s.name)
	}
	return names
}

// enter runs the bench again in namespaces of its own, and gives its exit code.
func enter(ctx context.Context, args []string) (int, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET, // its first process is the bench: nothing outlives it
		Setpgid:    true,                                                     // ^C is for us to hear
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
