package link

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// tickEvery bounds how late the kernel looks at its lifetimes. At 250 ms, the rate of a lease's own refreshes, a disturbed lease was gone up to
// 1.250 s after its last refresh; at 100 ms it is 1.1 s.
const tickEvery = 100 * time.Millisecond

// Tick keeps the kernel's lifetime check on time until ctx ends: each address that anybody adds runs the check, which then does not run
// again for a second, so that a lease may end up to 1.3 s late (measured). A refresh of whatever leased address runs it at once: this keeps
// one on lo. It is a program of its own, for it must outlive an agent that dies.
func Tick(ctx context.Context) error {
	r, err := openRTNL(0)
	if err != nil {
		return err
	}
	defer r.close()
	lo, err := r.lookup("lo")
	if err != nil {
		return err
	}
	turn := time.NewTicker(tickEvery)
	defer turn.Stop()
	for {
		// That it may make the address anew is as good: nobody is served by it.
		_, err := r.lease(unix.NLM_F_REPLACE, time.Second, []Held{{Index: lo.Index, Addr: TickAddress}})
		if err != nil {
			return errors.Join(err, r.remove("lo", lo.Index, netip.PrefixFrom(TickAddress, 32)))
		}
		select {
		case <-turn.C:
		case <-ctx.Done():
			return r.remove("lo", lo.Index, netip.PrefixFrom(TickAddress, 32))
		}
	}
}

// Ticking reports whether a Tick runs in the calling thread's network namespace, or did until a second ago.
func Ticking(ctx context.Context) (bool, error) {
	found, err := FindAddresses(ctx, TickAddress)
	return len(found) > 0, err
}
