//go:build !linux

package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"
)

// ErrSystem says that this system is not supported yet.
var ErrSystem = fmt.Errorf("shared addresses are not supported on %s yet: %w", runtime.GOOS, errors.ErrUnsupported)

// Leases holds addresses on the kernel's terms.
type Leases struct{}

// OpenLeases gives ErrSystem.
func OpenLeases(func() time.Time) (*Leases, error) { return nil, ErrSystem }

// Close does nothing.
func (*Leases) Close() error { return nil }

// Held gives nothing.
func (*Leases) Held() []Held { return nil }

// Adopt does nothing.
func (*Leases) Adopt(...Held) {}

// Next is never.
func (*Leases) Next() time.Time { return time.Time{} }

// Take gives ErrSystem.
func (*Leases) Take(context.Context, string, netip.Addr) error { return ErrSystem }

// Drop gives ErrSystem.
func (*Leases) Drop(context.Context, string, netip.Addr) error { return ErrSystem }

// Turn gives ErrSystem.
func (*Leases) Turn(time.Duration) ([]Lost, error) { return nil, ErrSystem }

// FindAddresses gives ErrSystem.
func FindAddresses(context.Context, ...netip.Addr) ([]Present, error) { return nil, ErrSystem }

// AddressesOf gives ErrSystem.
func AddressesOf(context.Context, string) ([]Present, error) { return nil, ErrSystem }

// RemoveAddress gives ErrSystem.
func RemoveAddress(context.Context, Present) error { return ErrSystem }

// Leftovers gives ErrSystem.
func Leftovers(context.Context, ...netip.Addr) ([]Present, error) { return nil, ErrSystem }

// Watcher tells what happens to interfaces and addresses.
type Watcher struct{ Events <-chan Event }

// Watch gives ErrSystem.
func Watch() (*Watcher, error) { return nil, ErrSystem }

// Close does nothing.
func (*Watcher) Close() error { return nil }

// Err gives ErrSystem.
func (*Watcher) Err() error { return ErrSystem }

// Lookup gives ErrSystem.
func Lookup(string) (State, error) { return State{}, ErrSystem }

// Hears gives ErrSystem.
func Hears(string) (uint64, []netip.Addr, error) { return 0, nil, ErrSystem }

// ClaimSocket hears who else says that he has an address.
type ClaimSocket struct{}

// OpenClaims gives ErrSystem.
func OpenClaims(string, []netip.Addr) (*ClaimSocket, error) { return nil, ErrSystem }

// Receive gives ErrSystem.
func (*ClaimSocket) Receive(context.Context) (netip.Addr, MAC, error) {
	return netip.Addr{}, MAC{}, ErrSystem
}

// Close does nothing.
func (*ClaimSocket) Close() error { return nil }

// Neighbours asks the kernel where neighbours are.
type Neighbours struct{}

// OpenNeighbours gives ErrSystem.
func OpenNeighbours() (*Neighbours, error) { return nil, ErrSystem }

// Close does nothing.
func (*Neighbours) Close() {}

// Confirm gives ErrSystem.
func (*Neighbours) Confirm(Neighbour) error { return ErrSystem }

// Confirmed gives ErrSystem.
func (*Neighbours) Confirmed(Neighbour) (MAC, bool, error) { return MAC{}, false, ErrSystem }

// Port asks and announces on one interface.
type Port struct{}

// OpenPort gives ErrSystem.
func OpenPort(string) (*Port, error) { return nil, ErrSystem }

// Close does nothing.
func (*Port) Close() error { return nil }

// MAC is zero.
func (*Port) MAC() MAC { return MAC{} }

// Probe gives ErrSystem.
func (*Port) Probe(context.Context, netip.Addr, time.Duration, ...MAC) (MAC, bool, error) {
	return MAC{}, false, ErrSystem
}

// Announce gives ErrSystem.
func (*Port) Announce(MAC, netip.Addr, bool) error { return ErrSystem }

// CARPSocket sends and receives the frames that adverts travel in.
type CARPSocket struct{}

// OpenCARP gives ErrSystem.
func OpenCARP(string) (*CARPSocket, error) { return nil, ErrSystem }

// AdoptCARP gives ErrSystem.
func AdoptCARP(f *os.File, _ string) (*CARPSocket, error) {
	return nil, errors.Join(ErrSystem, f.Close())
}

// MAC is zero.
func (*CARPSocket) MAC() MAC { return MAC{} }

// Index is 0.
func (*CARPSocket) Index() int { return 0 }

// Send gives ErrSystem.
func (*CARPSocket) Send([]byte) error { return ErrSystem }

// Receive gives ErrSystem.
func (*CARPSocket) Receive(context.Context, []byte) (int, error) { return 0, ErrSystem }

// Lost gives ErrSystem.
func (*CARPSocket) Lost() (uint32, error) { return 0, ErrSystem }

// File gives ErrSystem.
func (*CARPSocket) File() (*os.File, error) { return nil, ErrSystem }

// Close does nothing.
func (*CARPSocket) Close() error { return nil }

// Tick gives ErrSystem.
func Tick(context.Context) error { return ErrSystem }

// Ticking gives ErrSystem.
func Ticking(context.Context) (bool, error) { return false, ErrSystem }

// EnsureVMAC gives ErrSystem.
func EnsureVMAC(context.Context, string, uint8) (string, error) { return "", ErrSystem }

// RemoveVMAC gives ErrSystem.
func RemoveVMAC(context.Context, uint8) error { return ErrSystem }

// OwnVMACs gives ErrSystem.
func OwnVMACs(context.Context) ([]VMAC, error) { return nil, ErrSystem }
