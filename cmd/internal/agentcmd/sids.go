package agentcmd

import (
	"context"
	"errors"
	"fmt"

	"kvmctl/ha"
	"kvmctl/ha/check"
	"kvmctl/ha/explain"
	"kvmctl/ha/peer"
	"kvmctl/internal/version"
)

// askPeer asks a peer's agent, with this node's key and without the agent here.
func (a *app) askPeer(ctx context.Context, spec *ha.Spec, name string, v peer.Verb, out any) error {
	return a.askPeerWith(ctx, spec, name, v, nil, out)
}

// askPeerWith is askPeer for a request that says more than its verb.
func (a *app) askPeerWith(ctx context.Context, spec *ha.Spec, name string, v peer.Verb, in, out any) error {
	ring, err := peer.ReadKeyring(a.keysPath(), spec.Peers)
	if ring.Identity == nil {
		return err
	}
	for _, n := range ring.Nodes {
		if n.Name != name {
			continue
		}
		if n.Key.IsZero() {
			return &peer.NotPairedError{Name: name}
		}
		client := peer.NewClient(version.Version, ring.Identity)
		defer client.Close()
		return client.Do(ctx, n, v, in, out)
	}
	return errors.Join(fmt.Errorf("there is no peer %q", name), err)
}

// askSIDs asks a peer's agent for the SIDs of its Samba.
func (a *app) askSIDs(spec *ha.Spec) check.SIDSource {
	return func(ctx context.Context, name string) (there check.SIDs, err error) {
		return there, a.askPeer(ctx, spec, name, peer.VerbSID, &there)
	}
}

// compareSIDs asks the checks of that type where the agent runs: what another machine's Samba goes by has nothing to do with its file.
func (a *app) compareSIDs(ctx context.Context, spec *ha.Spec) map[string]explain.Compared {
	var list []check.Item
	for _, c := range allChecks(spec) {
		if c.check.Type == ha.CheckSID {
			list = append(list, c.item)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if _, err := ha.Ask(ctx, a.socketPath(), ha.Request{Verb: ha.VerbStatus}); err != nil {
		return nil
	}
	all := map[string]explain.Compared{}
	for _, r := range check.Once(ctx, check.Env{SIDs: a.askSIDs(spec)}, list) {
		all[r.Name] = explain.Compared{Verdict: r.Answer.Verdict, Reason: r.Answer.Reason}
	}
	return all
}
