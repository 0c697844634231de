package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

// askFor is how long the agent has to answer: its loop turns four times a second.
const askFor = 5 * time.Second

// ask sends the agent a request; act is for the error: "show the status".
func (a *app) ask(ctx context.Context, act string, r ha.Request) (ha.Reply, error) {
	return a.askWithin(ctx, askFor, act, r)
}

// askWithin is ask for what takes its time.
func (a *app) askWithin(ctx context.Context, wait time.Duration, act string, r ha.Request) (ha.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	r.Who = whoami(a.env)
	reply, err := ha.Ask(ctx, a.socketPath(), r)
	switch {
	case err != nil:
		if late := ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded); late && r.Verb == ha.VerbSwitch {
			return reply, cli.InVain("kvmha status", "cannot %s: nobody was heard to take it within %s; it goes on", act, wait)
		} else if late {
			return reply, cli.InVain("systemctl status kvmha", "cannot %s: the agent did not answer within %s", act, wait)
		}
		return reply, fmt.Errorf("cannot %s: %w", act, permission(err))
	case reply.Error != "":
		return reply, answered(act, reply)
	}
	return reply, nil
}

// answered is the error that an answer tells of. One with several lines, as of a file with several mistakes, is as many errors; the hint is the last one's.
func answered(act string, r ha.Reply) error {
	as := cli.Failed
	switch {
	case r.Refused:
		as = cli.Refused
	case r.Usage:
		as = cli.Usage
	}
	lines := strings.Split(strings.TrimSpace(r.Error), "\n")
	errs := make([]error, len(lines))
	for i, line := range lines {
		hint := ""
		if i == len(lines)-1 {
			hint = r.Hint
		}
		errs[i] = as(hint, "cannot %s: %s", act, cli.Printable(line))
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// whoami names who calls, through sudo too, for the agent's log.
func whoami(env *cli.Env) string {
	if who := env.Get("SUDO_USER"); who != "" {
		return who
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "somebody"
}
