package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"kvmctl/internal/flock"
	"kvmctl/test/apart"
)

// options are what the command line says.
type options struct {
	bin     string // kvmctl
	out     string // page to write; "": none
	runs    int    // of each figure
	running int    // guests that run while status is measured
	defined int    // guests that are defined by then
	accel   string // tcg or kvm
	only    string // names of the figures to take, with commas; "": all
	root    string // set by the outer process for the inner one
}

func main() {
	apart.Init(giveKVM)
	var o options
	flag.StringVar(&o.bin, "bin", "bin/kvmctl", "the kvmctl to measure")
	flag.StringVar(&o.out, "o", "", "write the page with method and table to this `file`")
	flag.IntVar(&o.runs, "n", 15, "runs of each figure")
	flag.IntVar(&o.running, "running", 20, "guests that run while status is measured")
	flag.IntVar(&o.defined, "defined", 200, "guests that are defined while status is measured")
	flag.StringVar(&o.accel, "accel", "tcg", "tcg, or kvm on hardware that has it")
	flag.StringVar(&o.only, "only", "", "take only these figures: start,count,status,stopped,memory,stop,net,mount,cold")
	flag.StringVar(&o.root, "inside", "", "for its own use")
	flag.Parse()
	if flag.NArg() > 0 || o.runs < 1 || o.running < 2 || o.defined <= o.running || o.accel != "tcg" && o.accel != "kvm" || o.only != "" && o.out != "" {
		flag.Usage()
		os.Exit(2)
	}
	os.Exit(run(o))
}

// run gives the exit code: 1 when something failed or a wanted figure was missed.
func run(o options) int {
	if o.root == "" {
		return outside(o)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	b, err := newBench(ctx, o)
	if err != nil {
		return fail(err)
	}
	missed, err := b.measure(ctx)
	if err = errors.Join(err, b.close()); err != nil {
		return fail(err)
	}
	if missed > 0 {
		fmt.Fprintf(os.Stderr, "bench: error: %d wanted figures were missed\n", missed)
		return 1
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
	return 1
}

// outside is the process that was called. It keeps one bench at a time on this machine, starts the real one in namespaces of its
// own and removes its files, whatever became of it.
func outside(o options) int {
	if os.Geteuid() != 0 {
		return fail(errors.New("cannot run: only root may start guests; type: sudo make bench"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	l, err := flock.TryLock("/run/kvmctl-bench.lock")
	if errors.Is(err, flock.ErrLocked) {
		return fail(errors.New("cannot run: another bench is running, and each would spoil the other's figures"))
	}
	if err != nil {
		return fail(err)
	}
	defer l.Unlock()
	// On a disk, not a tmpfs: an fsync has to cost what it costs.
	root, err := os.MkdirTemp("/var/tmp", "kvmctl-bench-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(root)
	if err := os.Chmod(root, 0o755); err != nil { // a guest's uid must get through to its pidfile
		return fail(err)
	}
	code, err := apart.Run(ctx, append([]string{"-inside", root}, os.Args[1:]...)...)
	if err != nil {
		return fail(err)
	}
	return code
}

// bench is one run of everything, inside the namespaces.
type bench struct {
	o       options
	bin     string
	ours    *ours
	floor   *floor
	libvirt *libvirt // nil: it could not be started
	noVirt  error    // why
	report  report
	talk    io.Writer
}

func newBench(ctx context.Context, o options) (*bench, error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, bin: bin, talk: os.Stderr}
	b.say("preparing a host below %s", o.root)
	if b.ours, err = newOurs(ctx, o, bin); err != nil {
		return nil, err
	}
	if b.floor, err = newFloor(ctx, b.ours); err != nil {
		return nil, err
	}
	b.say("starting libvirt")
	if b.libvirt, b.noVirt = newLibvirt(ctx, b.ours); b.noVirt != nil {
		b.say("libvirt cannot be started: %v", b.noVirt)
		b.libvirt = nil
	}
	return b, nil
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.talk, "bench: "+format+"\n", args...) }

// close ends what is still running in order; what it cannot end dies with the pid namespace.
func (b *bench) close() error {
	var err error
	if b.libvirt != nil {
		err = b.libvirt.close()
	}
	return errors.Join(err, b.ours.close())
}
