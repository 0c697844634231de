package agentcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/peer"
	"kvmctl/internal/version"
)

// keyLine is one key of kvmha pair --list.
type keyLine struct {
	Name string         `json:"name"`
	Own  bool           `json:"own"`
	Key  peer.PublicKey `json:"key"`
	Next peer.PublicKey `json:"next,omitzero"` // accepted beside it, while the node changes its key
}

func (a *app) listKeys(asJSON bool) error {
	all := []keyLine{}
	id, err := peer.LoadIdentity(a.keysPath())
	if _, none := errors.AsType[*peer.NoIdentityError](err); err != nil && !none {
		return fmt.Errorf("cannot list the keys: %w", err)
	}
	if err == nil {
		all = append(all, keyLine{Name: a.nodeName(), Own: true, Key: id.Public()})
	}
	names, err := peer.Pinned(a.keysPath())
	if err != nil {
		return fmt.Errorf("cannot list the keys: %w", err)
	}
	for _, name := range names {
		p, err := peer.LoadPin(a.keysPath(), name)
		if err != nil {
			return fmt.Errorf("cannot list the keys: %w", err)
		}
		all = append(all, keyLine{Name: name, Key: p.Key, Next: p.Next})
	}
	if asJSON {
		return a.env.JSON(all)
	}
	var rows [][]string
	for _, k := range all {
		whose := "paired"
		switch {
		case k.Own:
			whose = "this node"
		case !k.Next.IsZero():
			whose = "paired, changes its key"
		}
		rows = append(rows, []string{k.Name, whose, k.Key.String()})
	}
	var b bytes.Buffer
	if err := cli.Table(&b, []string{"NODE", "STATE", "KEY"}, rows); err != nil {
		return fmt.Errorf("cannot list the keys: %w", err)
	}
	a.env.Print("%s", b.String())
	return nil
}

func (a *app) forgetKey(name string) error {
	was, err := peer.Forget(a.keysPath(), name)
	switch {
	case errors.Is(err, peer.ErrBadName):
		return cli.Usage("kvmha pair --list", "cannot forget a key: %w", err)
	case err != nil:
		return fmt.Errorf("cannot forget a key: %w", err)
	case !was:
		a.env.Talk("there is no key of %s here", name)
		return nil
	}
	a.env.Talk("the key of %s is forgotten; there, too: kvmha pair --forget %s", name, a.nodeName())
	return nil
}

func (a *app) rotateKey(ctx context.Context) error {
	const act = "change this node's key"
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	ring, err := peer.ReadKeyring(a.keysPath(), spec.Peers)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", act, err)
	}
	var nodes []peer.Node
	for _, n := range ring.Nodes {
		if !n.Key.IsZero() {
			nodes = append(nodes, n)
		}
	}
	if err := peer.Rotate(ctx, a.keysPath(), version.Version, nodes); err != nil {
		return cli.Failed("kvmha status; the old key is in use as before, and the command may be given again", "cannot %s: %w", act, err)
	}
	a.env.Talk("the new key is in use, known to %s", count(len(nodes), "peer"))
	return nil
}
