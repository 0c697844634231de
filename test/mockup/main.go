// Command mockup is the seed's site on one machine: four guests under kvmctl, kvmha in each, and every way in which it can break, in turn. It prints who
// was active when, how long a client was without the service, and what was acknowledged and lost, which has to be nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/test/apart"
)

// options are what the command line says.
type options struct {
	bin    string // directory of kvmctl and kvmha
	out    string // page to write; "": none
	seed   uint64 // of the staggered power-offs
	rounds int    // of them
	only   string // names of rows, with commas; "": all
	inside string // set by the outer process for the inner one
	debug  bool
}

func (o options) String() string {
	s := fmt.Sprintf("-seed %d -rounds %d", o.seed, o.rounds)
	if o.only != "" {
		s += " -only " + o.only
	}
	return s
}

func main() {
	apart.Init(nil)
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "the `directory` of kvmctl and kvmha")
	flag.StringVar(&o.out, "o", "", "write the page with method and tables to this `file`")
	flag.Uint64Var(&o.seed, "seed", 0, "of the random orders of power loss; 0: one of the clock's, which is printed")
	flag.IntVar(&o.rounds, "rounds", 20, "staggered power losses")
	flag.StringVar(&o.only, "only", "", "only the rows whose names begin so, with commas: "+strings.Join(names(), ","))
	flag.BoolVar(&o.debug, "debug", false, "show the agents' log of every row")
	flag.StringVar(&o.inside, "inside", "", "for its own use")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || !known(o.only) {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	code, err := 0, error(nil)
	if o.inside == "" {
		code, err = outside(ctx, o)
	} else {
		code, err = play(ctx, o)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "mockup: error: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// outside is the process that was called: it starts the real one in namespaces of its own and removes its files, whatever became of it.
func outside(ctx context.Context, o options) (int, error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("cannot run: only root may start guests; type: sudo make mockup")
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	dir, err := os.MkdirTemp("/var/tmp", "mockup") // on a disk, not a tmpfs: an fsync has to cost what it costs
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // a guest's uid must get through to its pidfile
		return 1, err
	}
	if err := prepare(ctx, dir); err != nil { // before the way out is gone
		return 1, err
	}
	return apart.Run(ctx, append([]string{"-inside", dir, "-seed", fmt.Sprint(o.seed)}, os.Args[1:]...)...)
}

// say tells how it goes on.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05.000")+" mockup: "+format+"\n", args...)
}

func absolute(dir, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s (make build makes it): %w", name, err)
	}
	return path, nil
}
