package agentcmd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/peer"
)

// peerLabel stands before the files of the peer that were given by hand.
const peerLabel = "peer:"

// drbdPeerWait bounds the question for the peer's drbd.conf.
const drbdPeerWait = 10 * time.Second

// peerFiles reads files of the peer; nil: there are none.
func peerFiles(files []string) (*conf.Config, error) {
	if len(files) == 0 {
		return nil, nil
	}
	return loadDRBD(peerLabel, files...)
}

// askDRBD asks the other member's agent for its drbd.conf; nil: there is no such node, or it cannot be asked, which is told.
func (a *app) askDRBD(ctx context.Context, spec *ha.Spec) (there *conf.Config, host string) {
	i := slices.IndexFunc(spec.Peers, func(n peer.Node) bool { return n.Role == peer.Member })
	if i < 0 {
		return nil, ""
	}
	name := spec.Peers[i].Name
	ctx, cancel := context.WithTimeout(ctx, drbdPeerWait)
	defer cancel()
	var answer ha.DRBDConf
	err := a.askPeer(ctx, spec, name, peer.VerbDRBDConf, &answer)
	if err == nil {
		there, err = answer.Read(name + ":")
	}
	if err == nil {
		return there, answer.Host
	}
	text := "not compared with " + name + ": " + strings.ReplaceAll(permission(err).Error(), "\n", "; ")
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && h.Hint() != "" {
		text += ": " + h.Hint()
	}
	a.env.Talk("%s", cli.Printable(text))
	return nil, ""
}
