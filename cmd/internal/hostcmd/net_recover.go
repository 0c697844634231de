package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/systemd"
	"kvmctl/netbridge/guard"
)

func newNetRecover(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "recover",
		Short: "Undo a change of the networks that was not confirmed and is not watched any more",
		Long: `Undo what a net apply that was killed, or whose guard was killed, has left. Every command of root's does
it before anything else; this one does nothing else. kvm.service runs it first.`,
		Example: `  kvmctl net recover`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("undo a change of the networks"); err != nil {
				return err
			}
			return a.recoverNetworks(cmd.Context())
		},
	}
}

// recoverNetworks undoes what was left, and says so.
func (a *app) recoverNetworks(ctx context.Context) error {
	f := a.guardFiles()
	if !guard.Left(f) {
		return nil
	}
	if err := os.MkdirAll(a.layout().RunRoot(), 0o711); err != nil { // gone with a boot
		return fmt.Errorf("cannot undo the change of the networks: %w", err)
	}
	rec, outcome, err := guard.Recover(ctx, f, openKernel)
	if err != nil {
		return fmt.Errorf("cannot undo the change of the networks: %w", err)
	}
	switch outcome {
	case guard.Undone:
		a.env.Talk("the change of the networks of %s was not confirmed, and nobody watched it any more: undone", rec.At.Format(time.DateTime))
	case guard.Rebooted:
		a.env.Talk("the change of the networks of %s was not confirmed before the boot: it is not made again", rec.At.Format(time.DateTime))
	case guard.Foreign:
		a.env.Talk("a change of the networks was made in another network namespace: kvmctl net recover there undoes it")
	}
	return nil
}

// recoverFirst is what every command does before anything else. That it fails is told, and the command goes on: it may be what helps.
func (a *app) recoverFirst(cmd *cobra.Command) {
	switch cmd.CommandPath() {
	case "kvmctl fence": // somebody's service stands still until it answers; the next command does this
		return
	case "kvmctl net confirm", "kvmctl net guard", "kvmctl net recover", "kvmctl " + cobra.ShellCompRequestCmd, "kvmctl " + cobra.ShellCompNoDescRequestCmd:
		return
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := a.recoverNetworks(cmd.Context()); err != nil {
		a.env.Talk("warning: %v", err)
		if hint := cli.Hint(err); hint != "" {
			a.env.Talk("hint: %s", hint)
		}
	}
}

func newNetGuard(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "guard",
		Short:  "Watch over a change of the networks (started by net apply)",
		Hidden: true,
		Args:   args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// It outlives the terminal and the login of whoever made the change: that is what it is for.
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
			if err := guard.Run(context.WithoutCancel(cmd.Context()), a.guardFiles(), openKernel); err != nil {
				return fmt.Errorf("cannot watch over the change of the networks: %w", err)
			}
			return nil
		},
	}
}

// guardUnit is the guard's own unit: as a child it would end with the session that it has to outlive.
const guardUnit = "kvm-net-guard.service"

// spawnGuard starts the guard: as a unit of its own with systemd, else as a process in a session of its own.
func (a *app) spawnGuard(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := []string{self, "net", "guard"}
	if a.root != "" {
		argv = []string{self, "--root", a.root, "net", "guard"}
	}
	if systemd.Booted() && sameNetns() {
		if err = spawnUnit(ctx, argv); err == nil {
			return nil
		}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	if log, err := os.OpenFile(a.layout().NetGuardLog(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600); err == nil { // no terminal may be kept open
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if started := cmd.Start(); started != nil {
		return errors.Join(err, started)
	}
	return cmd.Process.Release()
}

// sameNetns reports whether a unit would be in this network namespace.
func sameNetns() bool {
	own, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return false
	}
	init, err := os.Stat("/proc/1/ns/net")
	return err == nil && os.SameFile(own, init)
}

func spawnUnit(ctx context.Context, argv []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m, err := systemd.Dial(ctx, systemd.PrivateSocket)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.StartTransient(ctx, systemd.Unit{Name: guardUnit, Properties: []systemd.Property{
		systemd.Prop("Description", "undoes a change of the guests' networks unless it is confirmed"),
		systemd.Prop("DefaultDependencies", false),
		systemd.Prop("CollectMode", "inactive-or-failed"),
		systemd.ExecStart(argv...),
	}})
}
