package ha

import (
	"context"
	"net/netip"
	"time"

	"kvmctl/ha/failover"
	"kvmctl/ha/link"
)

// fileWait is how long the search for the file that an address stands in may hold up its removal: a disk may hang.
const fileWait = 200 * time.Millisecond

// foreign is an address that somebody else configured here.
type foreign struct {
	group string
	addr  netip.Addr
}

// foundHere tells a group of an address that somebody else configured here, with the file that it stands in where one is found: only this ends it.
func (a *Agent) foundHere(g *group, addr netip.Addr) {
	select {
	case a.foreign <- foreign{g.spec.Name, addr}:
	default: // so many are looked for already: without the file, then
		a.push(g, failover.AddressFound{Addr: addr})
	}
}

// findFiles looks for the files beside the loop. A search that hangs is left to itself, and no other is begun as long as it does.
func (a *Agent) findFiles(ctx context.Context) {
	free := make(chan struct{}, 1)
	free <- struct{}{}
	for {
		var f foreign
		select {
		case <-ctx.Done():
			return
		case f = <-a.foreign:
		}
		in := failover.AddressFound{Addr: f.addr}
		late := time.After(fileWait)
		select {
		case <-free:
			found := make(chan string, 1)
			go func() {
				defer func() { free <- struct{}{} }()
				found <- mentionOf(a.Root, f.addr)
			}()
			select {
			case in.File = <-found:
			case <-late:
			}
		case <-late:
		}
		a.post(ctx, func(time.Time) {
			if g := a.group(f.group); g != nil {
				a.push(g, in)
			}
		})
	}
}

// mentionOf gives the line of the network's configuration that an address stands in; empty: none was found.
func mentionOf(root string, addr netip.Addr) string {
	if root == "" {
		root = "/"
	}
	if all := link.Mentions(root, addr); len(all) > 0 {
		return all[0].String()
	}
	return ""
}
