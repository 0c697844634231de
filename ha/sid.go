package ha

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"kvmctl/ha/check"
	"kvmctl/ha/peer"
)

// sidsWithin is how long Samba's programs have for an answer to a peer.
const sidsWithin = 10 * time.Second

// askSIDs asks a peer for the SIDs of its Samba. It is called by checks, beside the loop.
func (a *Agent) askSIDs(ctx context.Context, name string) (check.SIDs, error) {
	var there check.SIDs
	for _, n := range a.channel.keyring().Nodes {
		if n.Name == name {
			err := a.channel.client.Do(ctx, n, peer.VerbSID, nil, &there)
			return there, err
		}
	}
	return there, fmt.Errorf("there is no peer %q", name)
}

// tellSIDs answers a member. What it runs is fixed: nothing of the question counts.
func tellSIDs(r *check.SIDReader) peer.Handler {
	return func(ctx context.Context, from peer.Node, _ json.RawMessage) (any, error) {
		if from.Role != peer.Member {
			return nil, &peer.AnswerError{Code: peer.CodeRefused, Text: "only a member asks for SIDs"}
		}
		ctx, cancel := context.WithTimeout(ctx, sidsWithin)
		defer cancel()
		return r.Read(ctx)
	}
}
