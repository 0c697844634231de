package ha

import (
	"net/netip"
	"time"

	"kvmctl/ha/arbiter"
	"kvmctl/ha/check"
	"kvmctl/ha/confsync"
	"kvmctl/ha/peer"
)

// Spec is what one node's kvmha.toml says: valid values, every default filled in. The loader (configs/kvmha) makes it; nothing changes it.
type Spec struct {
	File     string  // where it was read, for messages
	Node     string  // this node's name in mails, logs and audit lines
	Groups   []Group // in the file's order
	Mail     Mail
	Webhook  Webhook
	Command  Command
	Log      Log
	Language Language // of mails
	Channel  Channel
	Peers    []peer.Node     // the other agents, in the file's order, without their keys
	Arbiter  []arbiter.Group // whose records this node keeps, or asks an etcd for, in the file's order
	Fences   []Fence         // in the file's order
	Etcd     arbiter.EtcdAt  // where those records are; without an endpoint: in files of this node
	Syncs    []confsync.Job
}

// Channel is where the other agents reach this one.
type Channel struct {
	Listen []string // host:port or :port, TCP for the peer channel and UDP for the heartbeat; empty: nobody listens
}

// DefaultListen is where a node with peers listens: on every address, of both families.
const DefaultListen = ":4694"

// Group is a set of things that are active on exactly one node.
type Group struct {
	Name        string
	Description string
	Interface   string       // where its addresses live and its adverts go
	VHID        uint8        // 1 to 255; unique on the interface's network, among VRRP's virtual routers too
	Addresses   []netip.Addr // at least one; added as /32 or /128 with a kernel lifetime
	Password    Secret       // CARP's key, at most MaxPassword bytes

	Base      int          // CARP's advbase, in seconds; 0 only toward kvmha, as OpenBSD defines it
	Skew      int          // CARP's advskew, in 1/256 s; the smaller one is preferred
	PeerSkew  *int         // the other node's advskew, where the file knows it; nil: unknown
	DeadRatio int          // adverts missed until the master counts as dead; ucarp's -r
	Peer      Peer         // who is on the other side
	Unicast   []netip.Addr // where adverts go instead of the multicast group; empty: multicast

	Preempt      bool          // take over from a master that is worse
	PreemptDelay time.Duration // how long the group has been fit before it does
	VirtualMAC   bool          // the addresses live on a macvlan with CARP's own MAC address
	Probe        bool          // ask by ARP or NS whether a stranger has the address, before it is taken

	CarrierUpDelay   time.Duration // a link counts as up when it stayed up so long
	CarrierDownDelay time.Duration // likewise down
	IgnoreCarrier    bool          // ucarp's -S: a link without carrier is as good as one with

	Order         []Stage // of a promote; a demote is its reverse
	Storage       Storage
	Units         []Unit // started in this order, stopped in the reverse one
	Checks        []Check
	Restarts      int           // how often units are restarted here within RestartWindow before OnFailure applies
	RestartWindow time.Duration // in which Restarts are counted
	OnFailure     FailurePolicy
	Remind        time.Duration // an alert that lasts is repeated so often; 0: never
	Damping       Damping
	Hooks         Hooks
}

// Peer is the CARP dialect of the other side.
type Peer string

// The dialects, as the file writes them.
const (
	PeerUCARP Peer = "ucarp" // ucarp 1.5: one hashed IPv4 address, equal skews compared by address
	PeerBSD   Peer = "bsd"   // FreeBSD's and OpenBSD's kernels, pfSense, OPNsense
	PeerKVMHA Peer = "kvmha" // this program
)

// Stage is one part of a promote.
type Stage string

// The stages, in the order of a promote that DefaultOrder gives.
const (
	StageDRBD     Stage = "drbd"     // the right to be alone, then every resource primary
	StageMounts   Stage = "mounts"   // mounted, in their order
	StageUnits    Stage = "units"    // started, in their order
	StageChecks   Stage = "checks"   // green
	StageAddress  Stage = "address"  // CARP says so, and the addresses are there
	StageAnnounce Stage = "announce" // gratuitous ARP, unsolicited NA
	StageHooks    Stage = "hooks"
)

// FailurePolicy is what an active node does when a check stays red although its units were restarted.
type FailurePolicy string

// The policies, as the file writes them.
const (
	FailureHandOver FailurePolicy = "hand-over" // let go, mail, stay away while it cools down
	FailureStay     FailurePolicy = "stay"      // mail, and go on with what still works
)

// Damping bounds how often a group may move.
type Damping struct {
	Min, Max time.Duration // how long it stays away after it gave the role away: doubles from Min to Max
	Moves    int           // after so many moves within Window the group stays where it is, and mails
	Window   time.Duration
}

// Hooks are commands (argv, no shell) that are run when a group's role has changed. Their failure changes nothing.
type Hooks struct {
	Active  []string // it became active: after announce
	Standby []string // it let go: before the units are stopped
	Waiting []string // it cannot serve; the reason is in KVMHA_REASON
	Timeout time.Duration
}

// UnitKind is how a unit is started and stopped.
type UnitKind string

// The kinds, as the file writes them.
const (
	UnitSystemd UnitKind = "systemd" // over D-Bus
	UnitSysV    UnitKind = "sysv"    // /etc/init.d/NAME with LSB's exit codes
	UnitCommand UnitKind = "command" // argv of its own
	UnitUCARP   UnitKind = "ucarp"   // up and down scripts, called as ucarp does: interface address [xparam]
)

// Unit is something that runs on the active node only.
type Unit struct {
	Kind   UnitKind
	Name   string   // systemd: the unit with its suffix; sysv: the script's name; else what the admin calls it
	Start  []string // argv of command; of ucarp the up script alone
	Stop   []string // likewise
	Status []string // argv of command, exit 0: it runs; empty: nobody can tell
	XParam string   // ucarp's -x; empty: not passed
	// PIDFile holds the number of the main process of a command or a script: its end is noticed at once, and it can be killed. Empty: neither.
	PIDFile string

	StartTimeout time.Duration
	StopTimeout  time.Duration // then its process group is killed
}

// UCARPArgs gives the arguments of an up or down script as ucarp 1.5 passes them (spawn.c): interface, address, and xparam where one is given.
func (u Unit) UCARPArgs(iface string, address netip.Addr) []string {
	args := []string{iface, address.String()}
	if u.XParam != "" {
		args = append(args, u.XParam)
	}
	return args
}

// CheckType is what a check looks at.
type CheckType string

// The types, as the file writes them.
const (
	CheckSystemd CheckType = "systemd" // the unit is active
	CheckProcess CheckType = "process" // the process lives
	CheckTCP     CheckType = "tcp"     // something answers at Target
	CheckExec    CheckType = "exec"    // Command exits with 0
	CheckPing    CheckType = "ping"    // Target answers an echo request
	CheckDNS     CheckType = "dns"     // a name server gives the right answer
	CheckHTTP    CheckType = "http"    // a web server gives a page
	CheckSMTP    CheckType = "smtp"    // a mail server greets
	CheckDHCP    CheckType = "dhcp"    // a DHCP server answers, and nothing is taken
	CheckLDAP    CheckType = "ldap"    // a directory server answers
	CheckSMB     CheckType = "smb"     // a file server gives what is asked for
	CheckDisk    CheckType = "disk"    // a file system can be written and has room
	CheckARP     CheckType = "arp"     // somebody on a link has an address
	CheckSID     CheckType = "sid"     // a peer's Samba goes by the same SIDs
	CheckPF      CheckType = "pf"      // the packet filter is enabled
	CheckPFSync  CheckType = "pfsync"  // its states are passed on
)

// TellsOnly reports whether a check of this type raises an alert and moves nothing: two Sambas differ, and each node says so of the other one. Nor is it
// waited for: after a crash there is nobody to compare with.
func (t CheckType) TellsOnly() bool { return t == CheckSID }

// Check is one look at whether a group could serve or does. Which fields count depends on Type.
type Check struct {
	Type CheckType
	Name string // unique within its group

	Unit    string   // systemd: with its suffix
	PIDFile string   // process; either this
	Process string   // or the name of the executable; both: the pid has to be that of it
	Target  string   // tcp: host:port with the host a literal address; ping: a literal address
	Send    string   // tcp: written after the connect; empty: nothing
	Expect  string   // tcp: the answer holds it; empty: the connection is enough
	Command []string // exec: argv, no shell

	DNS    check.DNS    `json:",omitzero"` // dns
	HTTP   check.HTTP   `json:",omitzero"` // http
	SMTP   check.SMTP   `json:",omitzero"` // smtp
	DHCP   check.DHCP   `json:",omitzero"` // dhcp
	LDAP   check.LDAP   `json:",omitzero"` // ldap
	SMB    check.SMB    `json:",omitzero"` // smb
	Disk   check.Disk   `json:",omitzero"` // disk
	ARP    check.ARP    `json:",omitzero"` // arp
	SID    check.SID    `json:",omitzero"` // sid
	PFSync check.PFSync `json:",omitzero"` // pfsync

	ActiveOnly bool // looked at on the active node only: what it asks runs nowhere else

	Interval time.Duration // from the beginning of one look to that of the next
	Timeout  time.Duration
	Fall     int // so many reds in a row make it red
	Rise     int // so many greens make it green again
}
