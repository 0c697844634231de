package link

import "net"

// Event is one of State, AddressAdded, AddressRemoved, and Rescan.
type Event interface{ event() }

// State is what an interface is now.
type State struct {
	Interface string
	Index     int
	MAC       net.HardwareAddr
	Up        bool // set up by someone (IFF_UP)
	Carrier   bool // with a cable in it that leads somewhere (IFF_LOWER_UP); never without Up
	Gone      bool // there is no such interface any more; Carrier is false
}

// AddressAdded is an address that was not there before. A refresh of a lease is none.
type AddressAdded struct{ Present }

// AddressRemoved is one that was deleted, or whose lifetime ended.
type AddressRemoved struct{ Present }

// Rescan says that events were lost: a State for each interface follows, and addresses have to be looked up (FindAddresses).
type Rescan struct{}

func (State) event()          {}
func (AddressAdded) event()   {}
func (AddressRemoved) event() {}
func (Rescan) event()         {}
