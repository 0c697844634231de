// Command benchha measures kvmha against ucarp and keepalived, in turn and at the same phases, with what its checks cost, and prints the
// tables of docs/performance-ha.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
)

// The first thread stays with the main goroutine: a lab's namespaces must not become the process's.
func init() { runtime.LockOSThread() }

// options are what the command line says.
type options struct {
	bin  string // kvmha
	out  string // page to write; "": none
	runs int    // of each cell
	dual int    // of each way to end the agent
	labs int    // of each contender at the same time
	only string // names of what to measure, with commas; "": all
}

// String gives the flags that change the figures.
func (o options) String() string {
	if o.only == "checks" || o.only == "sync" { // the others' flags change nothing
		return "-only " + o.only
	}
	s := fmt.Sprintf("-n %d -dual %d -labs %d", o.runs, o.dual, o.labs)
	if o.only != "" {
		s += " -only " + o.only
	}
	return s
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin/kvmha", "the kvmha to measure")
	flag.StringVar(&o.out, "o", "", "write the page with method and tables to this `file`")
	flag.IntVar(&o.runs, "n", 12, "runs of each cell")
	flag.IntVar(&o.dual, "dual", 100, "runs of each way to end the agent, for the seconds of dual address")
	flag.IntVar(&o.labs, "labs", 3, "labs of each contender at the same time")
	flag.StringVar(&o.only, "only", "", "measure only these: "+strings.Join(parts(), ","))
	flag.Parse()
	if flag.NArg() > 0 || o.runs < 1 || o.dual < 1 || o.labs < 1 || o.only != "" && o.out != "" {
		flag.Usage()
		os.Exit(2)
	}
	for name := range strings.SplitSeq(o.only, ",") {
		if name != "" && !slices.Contains(parts(), name) {
			flag.Usage()
			os.Exit(2)
		}
	}
	os.Exit(run(o))
}

// run gives the exit code: 1 when something failed or a wanted figure was missed.
func run(o options) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	missed, err := measure(ctx, o)
	if err != nil {
		return fail(err)
	}
	if missed > 0 {
		fmt.Fprintf(os.Stderr, "bench-ha: error: %d wanted figures were missed\n", missed)
		return 1
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "bench-ha: error: %v\n", err)
	return 1
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+" bench-ha: "+format+"\n", args...)
}

// bench is one run of everything.
type bench struct {
	o      options
	bin    string
	dir    string
	report report
}

func measure(ctx context.Context, o options) (missed int, err error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("cannot run: only root may make network namespaces; type: sudo make bench-ha")
	}
	l, err := flock.TryLock("/run/kvmha-bench.lock")
	if errors.Is(err, flock.ErrLocked) {
		return 0, errors.New("cannot run: another bench is running, and each would spoil the other's figures")
	}
	if err != nil {
		return 0, err
	}
	defer l.Unlock()
	b := &bench{o: o}
	if b.bin, err = filepath.Abs(o.bin); err != nil {
		return 0, err
	}
	if _, err := os.Stat(b.bin); err != nil {
		return 0, fmt.Errorf("find kvmha (make build makes it): %w", err)
	}
	// A short name: a socket's path has no room for a long one.
	if b.dir, err = os.MkdirTemp("/tmp", "hab"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	began := time.Now()
	b.report.machine = describe(ctx, b)
	for _, step := range b.steps() {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), step.name) {
			continue
		}
		say("%s", step.say)
		if e := step.do(ctx); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", step.say, e))
		}
		if ctx.Err() != nil {
			break
		}
	}
	b.report.machine = append(b.report.machine, fmt.Sprintf("took %s; load after: %s, most of it the bench's own", time.Since(began).Round(time.Second), load()))
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
	name string // for -only
	say  string
	do   func(context.Context) error
}

func (b *bench) steps() []step {
	var all []step
	for _, c := range cells() {
		all = append(all, step{c.name, c.title, func(ctx context.Context) error { return b.cell(ctx, c, b.contenders(), &b.report.cells) }})
	}
	for _, c := range heartbeatCells() {
		all = append(all, step{c.name, c.title, func(ctx context.Context) error {
			return b.cell(ctx, c, b.contendersByHeartbeat(), &b.report.beats)
		}})
	}
	return append(all,
		step{"dual", "the agent killed and stopped at any phase", b.duals},
		step{"idle", "memory and CPU at rest", b.idle},
		step{"groups", fmt.Sprintf("CPU with %d groups", manyGroups), b.groups},
		step{"jitter", "adverts beside 4 busy loops", b.jitter},
		step{"checks", "what checks cost, and how soon a death is known", b.checks},
		step{"sync", fmt.Sprintf("copying one changed file of %d", syncFiles), b.syncs})
}

func parts() []string {
	var names []string
	for _, s := range (&bench{}).steps() {
		names = append(names, s.name)
	}
	return names
}
