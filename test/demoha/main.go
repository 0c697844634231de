// Command demoha runs the main job of kvmha before your eyes: it shares an address with a real ucarp, and a service that breaks takes the
// address along. Every command is printed before it runs; all of it happens in network namespaces.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/hatest"
)

// The first thread stays with the main goroutine: a namespace of the lab must not become the process's.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		if err := serve(ctx, os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo-ha: error: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("cannot run: only root may make network namespaces; type: sudo make demo-ha")
	}
	bin, err := filepath.Abs("bin/kvmha")
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("find kvmha (make build makes it): %w", err)
	}
	dir, err := os.MkdirTemp("/tmp", "kvmha-demo-") // a socket's path has no room for a long one
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d := &demo{bin: bin, dir: dir, began: time.Now()}
	err = d.play(ctx)
	if left := d.nothingLeft(); err == nil && left == nil {
		fmt.Printf("\nNothing is left behind: no process, no namespace, no file. It took %.0f s.\n", time.Since(d.began).Seconds())
	} else {
		err = errors.Join(err, left)
	}
	return err
}

// demo is one run.
type demo struct {
	bin, dir string
	began    time.Time

	lab            *hatest.Lab
	varda1, varda2 *hatest.Node
	probe          *hatest.Probe
	relay          *relay
}

func say(format string, args ...any) {
	fmt.Printf("\n\033[1m# "+format+"\033[0m\n", args...)
}

// sh prints a command, runs it on a node and shows what it prints.
func (d *demo) sh(ctx context.Context, n *hatest.Node, line string) error {
	d.show(n, line)
	out, err := n.Command(ctx, "/bin/sh", "-c", d.full(line)).CombinedOutput()
	fmt.Print(d.short(string(out)))
	if err != nil {
		return fmt.Errorf("%s on %s: %w", line, n.Name, err)
	}
	return nil
}

// start prints a command and starts it on a node; it goes on by itself.
func (d *demo) start(n *hatest.Node, line string) (*hatest.Process, error) {
	d.show(n, line+" &")
	return n.Start(strings.Fields(line)[0], "/bin/sh", "-c", "exec "+d.full(line))
}

func (d *demo) show(n *hatest.Node, line string) { fmt.Printf("%s$ %s\n", n.Name, line) }

// full and short write out what the lines leave away: where kvmha and the demo's files are.
func (d *demo) full(line string) string {
	return strings.NewReplacer("DIR", d.dir, "kvmha ", d.bin+" --root "+d.dir+" ").Replace(line)
}

func (d *demo) short(text string) string { return strings.ReplaceAll(text, d.dir, "DIR") }

// nothingLeft ends what runs and proves the demo's last promise.
func (d *demo) nothingLeft() error {
	var errs []error
	if d.relay != nil {
		errs = append(errs, d.relay.close())
	}
	if d.lab != nil {
		errs = append(errs, d.lab.Close())
	}
	errs = append(errs, os.RemoveAll(d.dir))
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	errs = append(errs, err)
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), d.dir) {
			errs = append(errs, fmt.Errorf("a process was left: %s", strings.ReplaceAll(string(b), "\x00", " ")))
		}
	}
	return errors.Join(errs...)
}
