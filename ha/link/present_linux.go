package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// FindAddresses gives where the addresses are on this machine, with whatever prefix. It is of the calling thread's network namespace.
func FindAddresses(ctx context.Context, addrs ...netip.Addr) ([]Present, error) {
	r, err := openRTNL(0)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return r.find(addrs)
}

// AddressesOf gives what addresses an interface of the calling thread's network namespace has. ENODEV: there is no such interface.
func AddressesOf(ctx context.Context, name string) ([]Present, error) {
	r, err := openRTNL(0)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s, err := r.lookup(name)
	if err != nil {
		return nil, fmt.Errorf("find interface %q: %w", name, err)
	}
	all, err := r.addresses()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var found []Present
	for _, k := range all {
		if k.index == s.Index {
			found = append(found, Present{name, k.index, k.prefix, k.leased()})
		}
	}
	return found, nil
}

// find is FindAddresses by this socket.
func (r *rtnl) find(addrs []netip.Addr) (found []Present, err error) {
	all, err := r.addresses()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var names map[int]string
	for _, k := range all {
		if !slices.Contains(addrs, k.prefix.Addr()) {
			continue
		}
		if names == nil {
			if names, err = r.linkNames(); err != nil {
				return nil, fmt.Errorf("list interfaces: %w", err)
			}
		}
		found = append(found, Present{names[k.index], k.index, k.prefix, k.leased()})
	}
	return found, nil
}

// glanceAge is how old a list of all addresses may be that says that one is not there.
const glanceAge = 100 * time.Millisecond

// makeRoom removes a lease of the address that was left behind. *PresentError: somebody else has configured it here. Hundreds of groups may take
// theirs at once on a machine with thousands of addresses, and the list of all is not read again for each.
func (l *Leases) makeRoom(r *rtnl, addr netip.Addr) error {
	if now := l.clock(); l.glance == nil || now.Sub(l.glanced) > glanceAge {
		all, err := r.addresses()
		if err != nil {
			return fmt.Errorf("list addresses: %w", err)
		}
		l.glance, l.glanced = map[netip.Addr]bool{}, now
		for _, k := range all {
			l.glance[k.prefix.Addr()] = true
		}
	}
	if !l.glance[addr] {
		return nil
	}
	found, err := r.find([]netip.Addr{addr})
	if err != nil {
		return err
	}
	for _, p := range found {
		if !p.Leased {
			return &PresentError{p}
		}
		if err := r.remove(p.Interface, p.Index, p.Prefix); err != nil {
			return err
		}
	}
	return nil
}

// addresses lists them all.
func (r *rtnl) addresses() (all []kernelAddr, err error) {
	err = r.dump(unix.RTM_GETADDR, unix.AF_UNSPEC, func() { all = nil }, func(body []byte) error {
		k, err := parseAddr(body)
		if err == nil {
			all = append(all, k)
		}
		return nil // one of a family that is none of ours
	})
	return all, err
}

// linkNames maps the indexes of the interfaces to their names.
func (r *rtnl) linkNames() (names map[int]string, err error) {
	err = r.dump(unix.RTM_GETLINK, unix.AF_UNSPEC, func() { names = map[int]string{} }, func(body []byte) error {
		l, err := parseLink(body)
		if err == nil {
			names[l.Index] = l.Interface
		}
		return err
	})
	return names, err
}

// RemoveAddress takes an address from an interface; that it is not there is as good.
func RemoveAddress(ctx context.Context, p Present) error {
	r, err := openRTNL(0)
	if err != nil {
		return err
	}
	defer r.close()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return r.remove(p.Interface, p.Index, p.Prefix)
}

// remove deletes one address.
func (r *rtnl) remove(name string, index int, p netip.Prefix) error {
	seq := r.nextSeq()
	m := addrMessage(unix.RTM_DELADDR, unix.NLM_F_ACK, seq, index, p.Addr())
	m[unix.SizeofNlMsghdr+1] = byte(p.Bits())
	err := r.ask(finish(m), seq)
	if err == nil || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("delete address %s from %s: %w", p, name, err)
}

// Leftovers deletes the leased addresses that an agent which is gone has left, of those given, and says which.
func Leftovers(ctx context.Context, addrs ...netip.Addr) (deleted []Present, err error) {
	r, err := openRTNL(0)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	found, err := r.find(addrs)
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		if !p.Leased {
			continue
		}
		if err := r.remove(p.Interface, p.Index, p.Prefix); err != nil {
			return deleted, err
		}
		deleted = append(deleted, p)
	}
	return deleted, nil
}
