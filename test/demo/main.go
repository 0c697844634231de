// Command demo runs the main job of kvmctl before your eyes: a Linux guest is created, started, seen, talked to and stopped, below a
// temporary root and on a bridge of its own. Every command is printed before it runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/test/guest"
)

const (
	bridge    = "kvdemo0"
	network   = "10.213.77" // private, and refused if the host uses it
	guestAddr = network + ".2"
	name      = "vm-olorin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "demo: error: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("cannot run: only root may start guests; type: sudo make demo")
	}
	if err := free(); err != nil {
		return err
	}
	bin, err := filepath.Abs("bin/kvmctl")
	if err != nil {
		return err
	}
	say("the guest: Debian's cloud kernel and busybox (the first time it is downloaded and packed)")
	images, err := guest.Build(ctx, guest.DefaultDir())
	if err != nil {
		return err
	}
	root, err := os.MkdirTemp("", "kvmctl-demo-")
	if err != nil {
		return err
	}
	if err := os.Chmod(root, 0o755); err != nil {
		return err
	}
	d := &demo{bin: bin, root: root, began: time.Now()}
	keep := os.Getenv("KEEP") == "1"
	defer func() {
		if err != nil {
			err = errors.Join(err, d.cleanUp())
		}
	}()
	if err := d.play(ctx, images, keep); err != nil {
		return err
	}
	if keep {
		d.howToGoOn()
		return nil
	}
	return d.nothingLeft()
}

// free refuses to run where the demo's names or addresses are in use already.
func free() error {
	if _, err := os.Stat("/sys/class/net/" + bridge); err == nil {
		return fmt.Errorf("cannot run: %s exists; an earlier demo was kept: stop it as it said, or delete the bridge", bridge)
	}
	routes, err := os.ReadFile("/proc/net/fib_trie")
	if err == nil && strings.Contains(string(routes), network+".") {
		return fmt.Errorf("cannot run: this host uses %s.0/24 already", network)
	}
	return nil
}

// demo is one run.
type demo struct {
	bin   string
	root  string
	began time.Time
}

func say(format string, args ...any) {
	fmt.Printf("\n\033[1m# "+format+"\033[0m\n", args...)
}

// kvmctl prints a command, runs it and gives what it printed on stdout; both streams are shown.
func (d *demo) kvmctl(ctx context.Context, args ...string) (string, error) {
	return d.command(ctx, "kvmctl", append([]string{d.bin, "--root", d.root}, args...), args)
}

func (d *demo) command(ctx context.Context, shown string, argv, shownArgs []string) (string, error) {
	fmt.Printf("$ %s\n", strings.TrimSpace(shown+" "+quote(shownArgs)))
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out strings.Builder
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout = &tee{&out}
	cmd.Stderr = os.Stdout // one stream: what is said stays in its order
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w", shown, quote(shownArgs), err)
	}
	return out.String(), nil
}

type tee struct{ b *strings.Builder }

func (t *tee) Write(p []byte) (int, error) {
	t.b.Write(p)
	return os.Stdout.Write(p)
}

func quote(args []string) string {
	q := make([]string, len(args))
	for i, a := range args {
		if q[i] = a; strings.ContainsAny(a, " \"$&;|<>*?") || a == "" {
			q[i] = "'" + a + "'"
		}
	}
	return strings.Join(q, " ")
}
