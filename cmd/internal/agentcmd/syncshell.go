package agentcmd

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
	"kvmctl/ha/confsync"
	"kvmctl/ha/peer"
	"kvmctl/internal/version"
)

// newSyncShell is what rsync runs in place of a remote shell. What rsync wants to be run there is not even sent.
func newSyncShell(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync-shell <node> <name> <path> [<ignored>...]",
		Short: "Connect rsync's two ends by the peer channel (kvmha sync runs it)",
		Long: `Be what rsync takes for a remote shell: connect it to the sender of a node, which chooses itself what it sends. What
follows behind <path> is rsync's, and not sent.`,
		Example: "  kvmha sync-shell varda1 zones 0",
		Hidden:  true,
		Args:    args(cobra.MinimumNArgs(3)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if err := a.syncShell(cmd.Context(), words[0], words[1], words[2]); err != nil {
				return fmt.Errorf("cannot copy from %s: %w", words[0], err)
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows is rsync's
	return cmd
}

func (a *app) syncShell(ctx context.Context, node, name, index string) error {
	spec, err := a.load(a.configPath())
	if err != nil {
		return err
	}
	ring, err := peer.ReadKeyring(a.keysPath(), spec.Peers)
	n := slices.IndexFunc(ring.Nodes, func(n peer.Node) bool { return n.Name == node })
	j := slices.IndexFunc(spec.Syncs, func(j confsync.Job) bool { return j.Name == name })
	i, bad := strconv.Atoi(index)
	switch {
	case n < 0 || j < 0 || bad != nil || i < 0 || i >= len(spec.Syncs[j].Paths):
		return cli.Usage("kvmha sync list", "the file has no such peer or path")
	case ring.Identity == nil:
		return err
	case ring.Nodes[n].Key.IsZero():
		return &peer.NotPairedError{Name: node}
	}
	client := peer.NewClient(version.Version, ring.Identity)
	defer client.Close()
	paths := spec.Syncs[j].Paths
	c, err := client.Stream(ctx, ring.Nodes[n], peer.VerbSyncPull, ha.SyncRequest{Sync: name, Path: i, Of: len(paths), Tree: strings.HasSuffix(paths[i], "/")})
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	go func() { // ends with the process: rsync closes its end, or is gone
		_, _ = io.Copy(c, a.env.In)
		if t, ok := c.(*tls.Conn); ok {
			_ = t.CloseWrite()
		}
	}()
	if _, err := io.Copy(a.env.Out, c); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	return nil
}
