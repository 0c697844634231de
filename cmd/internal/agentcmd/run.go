package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/internal/flock"
	"kvmctl/internal/systemd"
	"kvmctl/internal/version"
)

func newRun(a *app) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Be the agent, in the foreground",
		Long: `Be the agent of this node, in the foreground: what kvmha.service runs. It speaks CARP for every group of its
file, takes the addresses of those that it is elected for, runs their units, and lets go when another
node is better or a check fails.

A file with a mistake is refused, and one with storage while kvmha drbd lint finds a danger here: exit code 2, upon
which no service manager tries again.

SIGTERM or SIGINT hands over what is active and ends. SIGHUP reads the file again; one with a mistake, or a
danger, is refused. SIGUSR2 replaces the agent by the program on disk, in place. --debug logs every step too.`,
		Example: "  kvmha run --debug",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd.Context(), verbose) },
	}
	cmd.Flags().BoolVar(&verbose, "debug", false, "log every step")
	return cmd
}

func (a *app) runAgent(ctx context.Context, verbose bool) error {
	const act = "run"
	if err := a.needRoot(act + " the agent"); err != nil {
		return err
	}
	syscall.Umask(0o077)
	// A panic, or the watchdog's SIGABRT, ends the process by a signal: Go's own exit code 2 would mean a bad file, and nobody would start it again.
	debug.SetTraceback("crash")
	hup, usr2 := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	signal.Notify(usr2, syscall.SIGUSR2)
	defer signal.Stop(hup)
	defer signal.Stop(usr2)
	clock := ha.OpenClock()
	defer clock.Close()
	lines := newLogQueue(a.env.Err)
	defer lines.Close()
	log := slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level(verbose), ReplaceAttr: a.untimed}))
	resume, err := ha.TakeOver(clock.Now())
	if err != nil {
		log.Error("begins anew", "error", err)
	}
	spec, unread := a.loadSafe(ctx)
	switch {
	case resume != nil && unread != nil: // what the program before held must not be lost by a typing error
		spec = resume.Spec()
	case unread != nil:
		return unsafeToRun(act, unread)
	case resume == nil && len(spec.Groups) == 0 && len(spec.Arbiter) == 0:
		return cli.WithCode(fmt.Errorf("cannot %s the agent: %s has no group", act, a.configPath()), cli.ExitUsage)
	}
	boot, err := ha.BootID()
	if err != nil {
		return fmt.Errorf("cannot %s the agent: %w", act, err)
	}
	kernel, err := ha.OpenKernel(clock)
	if err != nil {
		return fmt.Errorf("cannot %s the agent: %w", act, err)
	}
	defer kernel.Close()
	kernel.Inherit(resume)
	notifier, err := ha.OpenNotifier(a.env.Get)
	if err != nil {
		log.Warn("the service manager is not told", "error", err)
	}
	defer notifier.Close()
	lock, err := a.alone(ctx)
	if errors.Is(err, flock.ErrLocked) {
		return cli.Refused("kvmha status", "cannot %s the agent: %w", act, ha.ErrRunning)
	}
	if err != nil {
		return fmt.Errorf("cannot %s the agent: %w", act, err)
	}
	defer lock.Unlock() // an exec ends it, too: the next program takes it again
	control, err := a.listen(ctx, resume)
	if errors.Is(err, ha.ErrRunning) {
		return cli.Refused("kvmha status", "cannot %s the agent: %w", act, err)
	}
	if err != nil {
		return fmt.Errorf("cannot %s the agent: %w", act, err)
	}
	kept, err := control.File() // outlives the listener, for the next program
	if err != nil {
		return fmt.Errorf("cannot %s the agent: %w", act, err)
	}
	defer kept.Close()
	o := ha.Options{
		Spec: spec, Clock: clock, Network: kernel, Notifier: notifier, Log: log, Control: control, Reload: hup, Restart: usr2,
		Root: a.root, Keys: a.keysPath(), Records: a.recordsPath(), Version: version.Version, BootID: boot, Resume: resume, Unread: unread,
		Disks: a.storageWorld(), Sync: a.copyFrom, Held: a.heldSince, Settled: a.settled, NoteSettled: a.noteSettled,
		Load: a.loadSafe,
	}
	besides, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if systemd.Booted() {
		o.Bus = systemd.NewBus(systemd.PrivateSocket)
		go func() { _ = o.Bus.Run(besides) }() // it comes back when besides ends, with nothing to say
	}
	j, post := a.voices(&o)
	agent := ha.New(o)
	j.log.Degrade = func(err error) { agent.Degrade("audit log", err) }
	var writing, voices sync.WaitGroup
	writing.Go(func() { j.log.Run(besides) })
	voices.Go(func() { agent.Degrade("alerts", post.Run(besides)) })
	err = agent.Run(ctx)
	stop() // what was said last is written and sent
	writing.Wait()
	post.Kept() // also where this process ends by an exec: what is only in memory would be lost
	if !errors.Is(err, ha.ErrReplaced) {
		voices.Wait() // the next program finds in the spool what is not sent yet
	}
	if errors.Is(err, ha.ErrReplaced) {
		h := agent.Handover()
		h.Control = int(kept.Fd())
		lines.Close() // an exec takes what is not written yet with it
		return fmt.Errorf("cannot replace the agent: %w", a.replace(h, kernel))
	}
	os.Remove(a.socketPath())
	switch {
	case errors.Is(err, ha.ErrUnclean):
		return cli.Unclean("the agent has ended: %w", err)
	case err != nil:
		return fmt.Errorf("cannot %s the agent: %w", act, err)
	}
	return nil
}

// replace makes this process the program on disk. When that fails the process ends, and its addresses with it: nobody refreshes them.
func (a *app) replace(h *ha.Handover, kernel *ha.Kernel) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	if err := kernel.Close(); err != nil {
		return err
	}
	return ha.Replace(path, append([]string{"kvmha"}, a.env.Args...), os.Environ(), h)
}

// alone makes sure that no other agent runs here: two would both hold the addresses. The socket alone does not tell, because two that start at
// once find nobody at it.
func (a *app) alone(ctx context.Context) (*flock.Lock, error) {
	if err := os.MkdirAll(a.runPath(), 0o700); err != nil {
		return nil, fmt.Errorf("make %s: %w", a.runPath(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // one that ends at this moment
	defer cancel()
	return flock.Wait(ctx, a.lockPath())
}

// listen makes the control socket, or takes over that of the program before.
func (a *app) listen(ctx context.Context, resume *ha.Handover) (*net.UnixListener, error) {
	if resume != nil && resume.Control >= 0 {
		f := os.NewFile(uintptr(resume.Control), "control socket")
		l, err := net.FileListener(f)
		f.Close()
		if u, ok := l.(*net.UnixListener); err == nil && ok {
			u.SetUnlinkOnClose(false)
			return u, nil
		}
	}
	l, err := ha.ListenControl(ctx, a.runPath(), a.socketPath())
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

func level(verbose bool) slog.Level {
	if verbose {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// untimed leaves out the time where the journal has its own.
func (a *app) untimed(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.TimeKey && a.env.Get("JOURNAL_STREAM") != "" {
		return slog.Attr{}
	}
	return attr
}
