package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"time"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

// askFor is how long the agent has to answer: its loop turns four times a second.
const askFor = 5 * time.Second

// ask sends the agent a request; act is for the error: "show the status".
func (a *app) ask(ctx context.Context, act string, r ha.Request) (ha.Reply, error) {
	wait := askFor
	if r.Verb == ha.VerbSwitch {
		wait += ha.SwitchWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	r.Who = whoami(a.env)
	reply, err := ha.Ask(ctx, a.socketPath(), r)
	switch {
	case err != nil:
		if errors.Is(err, context.DeadlineExceeded) {
			return reply, cli.InVain("systemctl status kvmha", "cannot %s: the agent did not answer within %s", act, wait)
		}
		return reply, fmt.Errorf("cannot %s: %w", act, permission(err))
	case reply.Refused:
		return reply, cli.Refused(reply.Hint, "cannot %s: %s", act, reply.Error)
	case reply.Error != "":
		return reply, cli.Failed(reply.Hint, "cannot %s: %s", act, reply.Error)
	}
	return reply, nil
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
