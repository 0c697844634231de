package conf

import "net/netip"

// Config is what drbd.conf and the files that it includes say.
type Config struct {
	Files     []File // in the order in which they were begun
	Global    []Option
	Common    []Option
	Resources []*Resource
	Problems  []*Error // what drbdadm would refuse, or not know; the rest was read
}

// File is one file that was read.
type File struct {
	Name string // as positions have it
	Mode uint32 // permission bits; 0: not known
}

// Section says what an option is about.
type Section string

// The sections of options.
const (
	Global   Section = "global"
	Net      Section = "net"
	Disk     Section = "disk" // those of a peer device too: resync-rate, c-…
	Options  Section = "options"
	Startup  Section = "startup"
	Handlers Section = "handlers"
)

// Option is one option under today's name: "rate" of a syncer section is resync-rate of disk, and "no-disk-flushes;" is "disk-flushes no;".
type Option struct {
	Section Section
	Name    string
	Value   Value    // "yes" where the file has the name alone
	At      Position // of the name
	Written string   // the name in the file
	Under   string   // the section in the file where it is another one: "syncer", "resource" (protocol), "disk" (fencing)
}

// Resource is a resource.
type Resource struct {
	Name        Value
	Options     []Option
	Volumes     []*Volume // of every host, where the host's own do not say otherwise
	Hosts       []*Host
	Connections []*Connection // of DRBD 9; none: the two hosts have one
}

// Host is an on, floating or stacked-on-top-of section.
type Host struct {
	Names    []Value // none for floating and stacked ones
	Stacked  Value   // the resource below; its text is empty where there is none
	Floating bool
	Address  Address
	NodeID   Value // empty: not said
	Volumes  []*Volume
	Options  []Option
	At       Position
}

// Address is where DRBD listens. The zero Family says that there is none.
type Address struct {
	Family string // "ipv4", "ipv6", "ssocks", "sdp"
	IP     netip.Addr
	Port   uint16
	At     Position
}

func (a Address) String() string {
	if a.Family == "" {
		return ""
	}
	text := netip.AddrPortFrom(a.IP, a.Port).String()
	if a.Family != "ipv4" && a.Family != "ipv6" {
		text = a.Family + " " + text
	}
	return text
}

// Volume is one device of a resource, or a part of what is said of it.
type Volume struct {
	Number    int
	Implicit  bool // 0, without a section of its own
	Device    Value
	Minor     int // -1: not said
	MinorAt   Position
	Disk      Value // "none": diskless here
	MetaDisk  Value
	MetaIndex Value // empty: flexible, or internal
	Options   []Option
	At        Position
}

// Connection is a connection or connection-mesh section.
type Connection struct {
	Mesh    bool
	Ends    []End // the first two of a connection; every host of a mesh; one pair more for each further path
	Options []Option
	Volumes []*Volume // with options alone
	At      Position
}

// End is one host of a connection, with the address that is not its own section's.
type End struct {
	Host    Value
	Address Address
	Port    uint16 // with the address of the host's section; 0: that one's
}
