package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/peer"
	"kvmctl/internal/version"
)

// switchHere asks the peer on which a group is active to hand it over.
func (a *app) switchHere(ctx context.Context, group string, timeout time.Duration) error {
	act := "switch " + group + " to this node"
	if err := a.needRoot(act); err != nil {
		return err
	}
	status, err := a.askStatus(ctx, statusOptions{groups: []string{group}})
	if err != nil {
		return err
	}
	if len(status.Groups) == 1 && status.Groups[0].Role == "active" {
		a.env.Talk("%s is active here already", group)
		return nil
	}
	name := activeOn(status, group)
	if name == "" {
		return cli.Refused("kvmha status "+group, "cannot %s: no peer was seen in the last %d s on which it is active", act, oldView)
	}
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	ring, err := peer.ReadKeyring(a.keysPath(), spec.Peers)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", act, err)
	}
	client := peer.NewClient(version.Version, ring.Identity)
	defer client.Close()
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, n := range ring.Nodes {
		if n.Name != name {
			continue
		}
		err := onceSettled(within, func() (bool, error) {
			err := client.Do(within, n, peer.VerbAskHandover, ha.HandoverRequest{Group: group, Who: whoami(a.env)}, nil)
			return errors.Is(err, peer.ErrNotYet), err
		})
		answer, _ := errors.AsType[*peer.AnswerError](err)
		switch {
		case err == nil:
			a.env.Talk("%s has handed %s over: kvmha status %s", name, group, group)
			return nil
		case answer != nil && (answer.Code == peer.CodeRefused || answer.Code == peer.CodeNotYet):
			return cli.Refused(answer.Hint(), "cannot %s: %s", act, cli.Printable(answer.Error()))
		case within.Err() != nil && ctx.Err() == nil:
			return cli.InVain("kvmha status", "cannot %s: %s has not handed it over within %s; it goes on", act, name, timeout)
		}
		return fmt.Errorf("cannot %s: %w", act, err)
	}
	return cli.Refused("kvmha status "+group, "cannot %s: the file knows no peer %s", act, name)
}

// activeOn names the peer that has just said that a group is active there; "" is none.
func activeOn(s *ha.Status, group string) string {
	for _, p := range s.Peers {
		if p.Report == nil || *p.Seen > oldView {
			continue
		}
		for _, g := range p.Report.Groups {
			if g.Name == group && g.Role == "active" {
				return p.Name
			}
		}
	}
	return ""
}
