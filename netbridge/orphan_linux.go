package netbridge

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// DeleteTAP removes a TAP that still has the alias under which it was found. A TAP of ours vanishes with its last descriptor: one that
// stays was made to, by another hand. The caller has proved that no process has it open.
func (k *LinuxKernel) DeleteTAP(ctx context.Context, name, alias string) error {
	l, err := k.linkByName(ctx, name)
	if err == nil && (l.Kind != KindTUN || l.Alias != alias) {
		err = fmt.Errorf("it is another interface by now: %w", unix.EEXIST)
	}
	if err == nil {
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(l.Index)
		err = do(ctx, k.request(unix.RTM_DELLINK, unix.NLM_F_ACK, msg))
	}
	return wrap(err, "delete TAP %q", name)
}
