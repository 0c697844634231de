package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
	"kvmctl/vm/qmp"
)

// exitOwn is the exit code of our own failures, which the command's own codes must not be taken for.
const exitOwn = 125

type execOptions struct {
	name    string
	command []string
	timeout time.Duration
	stdin   bool
}

func newExec(a *app) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec <vm> [--timeout T] [--stdin] -- <command> [<arg>...]",
		Short: "Run a command inside a guest",
		Long: `Run a command inside a guest, through its guest agent, as the user that the agent runs as (root).

There is no shell in between: for pipes, variables and several commands run one, as in the example. The agent cannot
stream: what --stdin reads is sent whole at the start, 16M at most, and stdout and stderr come whole
at the end, byte for byte. The agent keeps 16M of each; that more was dropped is said on stderr.

^C and --timeout stop the waiting, not the command: the agent cannot end it. kvmctl says as which
process it runs on in the guest.

Exit code: the command's own; 128 + the number of the signal that ended it; 125 for everything that
is kvmctl's failure or the agent's: no such command in the guest, no agent, the guest ended.`,
		Example: `  kvmctl exec vm-olorin -- uname -a
  kvmctl exec vm-olorin --timeout 10s -- sh -c 'df -h /; free -m'
  kvmctl exec vm-olorin --stdin -- tee /etc/motd`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return own(cli.Usage("kvmctl exec <vm> -- <command>", "cannot run %s: want one guest, --, and a command", cmd.CommandPath()))
			}
			return nil
		},
		ValidArgsFunction: a.completeGuest,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			return own(cmd.Root().PersistentPreRunE(cmd, args))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name, o.command = args[0], args[1:]
			return own(a.runExec(cmd.Context(), o))
		},
	}
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "wait no longer than `T` (0: as long as it runs)")
	cmd.Flags().BoolVar(&o.stdin, "stdin", false, "give the command what stdin has")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return own(cli.Usage(cmd.CommandPath()+" --help", "cannot run %s: %w", cmd.CommandPath(), err))
	})
	return cmd
}

// own gives a failure of ours its exit code; a QuietError carries the command's.
func own(err error) error {
	var quiet *cli.QuietError
	if err == nil || errors.As(err, &quiet) {
		return err
	}
	return cli.WithCode(err, exitOwn)
}

const runCommand = "run a command in"

func (a *app) runExec(ctx context.Context, o execOptions) error {
	if o.timeout < 0 {
		return cli.Usage("kvmctl exec --help", "cannot %s %s: --timeout %v is negative", runCommand, o.name, o.timeout)
	}
	c := qmp.GuestCommand{Path: o.command[0], Args: o.command[1:]}
	g, err := a.meet(ctx, o.name, "exec", runCommand)
	if err != nil {
		return err
	}
	if g.StateOf != nil && !g.StateOf.Agent {
		return cli.Failed("`agent = true` under [guest] in its vm.toml, and a restart", "cannot %s %s: it runs without a guest agent", runCommand, o.name)
	}
	if g.State == vm.StatePaused {
		return cli.Failed("kvmctl resume "+o.name, "cannot %s %s: it is paused", runCommand, o.name)
	}
	if o.stdin {
		if c.Input, err = a.readInput(ctx); err != nil {
			return fmt.Errorf("cannot %s %s: %w", runCommand, o.name, err)
		}
	}
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	s, err := g.host.Exec(ctx, o.name, c)
	if err != nil {
		return execFailed(o, err)
	}
	return a.execEnded(o.name, s)
}

// readInput reads stdin to its end; a terminal does not keep us when ctx ends.
func (a *app) readInput(ctx context.Context) ([]byte, error) {
	in, stop, err := newKeys(ctx, a.env)
	if err != nil {
		return nil, err
	}
	defer stop()
	b, err := io.ReadAll(io.LimitReader(in, qmp.MaxExecInput+1))
	if err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	if len(b) > qmp.MaxExecInput {
		return nil, qmp.ErrInputTooLong
	}
	return b, nil
}

// execFailed words what kept us from running a command to its end.
func execFailed(o execOptions, err error) error {
	var left *vm.LeftRunningError
	var refused *qmp.Error
	hint := "kvmctl status " + o.name
	switch {
	case errors.As(err, &left):
		if errors.Is(err, context.DeadlineExceeded) && o.timeout > 0 {
			left.Err = fmt.Errorf("it took longer than %v: %w", o.timeout, context.DeadlineExceeded)
		}
		if !errors.Is(err, vm.ErrNotRunning) {
			hint = fmt.Sprintf("kvmctl exec %s -- kill %d", o.name, left.PID)
		}
	case errors.As(err, &refused) && refused.Class == "CommandNotFound":
		hint = "the agent in the guest does not allow guest-exec: see --block-rpcs or --allow-rpcs of its qemu-ga"
	case errors.As(err, &refused):
		hint = fmt.Sprintf("kvmctl exec %s -- sh -c 'command -v %s'", o.name, o.command[0])
	case errors.Is(err, qmp.ErrNoAgent):
		hint = "kvmctl wait " + o.name + " --for agent"
	}
	return cli.Failed(hint, "cannot %s %s: %w", runCommand, o.name, err)
}

// execEnded passes on a command's output and its exit code.
func (a *app) execEnded(name string, s qmp.ExecStatus) error {
	if _, err := a.env.Out.Write(s.Out); err != nil {
		return fmt.Errorf("cannot write what the command in %s said: %w", name, err)
	}
	if _, err := a.env.Err.Write(s.Err); err != nil {
		return fmt.Errorf("cannot write what the command in %s said: %w", name, err)
	}
	for stream, cut := range map[string]bool{"stdout": s.OutTruncated, "stderr": s.ErrTruncated} {
		if cut {
			a.env.Talk("the agent in %s dropped what came after the first %d bytes of %s; write it to a file there", name, qmp.MaxExecOutput, stream)
		}
	}
	code, odd := exitCode(s)
	if odd {
		a.env.Talk("the command in %s ended with code %d, which no exit code here can say", name, s.Code)
	}
	if code == 0 {
		return nil
	}
	return &cli.QuietError{ExitCode: code}
}

// exitCode puts a command's end into an exit code as a shell does; odd: the guest's system has codes that do not fit, and 255 stands for them.
func exitCode(s qmp.ExecStatus) (code int, odd bool) {
	switch {
	case s.Signal > 0 && s.Signal < 128:
		return 128 + int(s.Signal), false
	case s.Signal != 0 || s.Code < 0 || s.Code > 255:
		return 255, true
	}
	return int(s.Code), false
}
