package drbd

// Role says who may write: drbd's role, and peer's role.
type Role int

// The roles. NoRole was not told, or is a word that came after this program.
const (
	NoRole Role = iota
	UnknownRole
	Secondary
	Primary
)

var roleNames = []string{"", "Unknown", "Secondary", "Primary"}

func (r Role) String() string { return word(roleNames, int(r)) }

// Disk is the state of a volume's data on one node.
type Disk int

// The states, as drbdsetup(8) names them. NoDisk was not told, or is a word that came after this program: it is good for nothing.
const (
	NoDisk Disk = iota
	Diskless
	Attaching
	Detaching
	Failed
	Negotiating
	Inconsistent
	Outdated
	DUnknown
	Consistent
	UpToDate
)

var diskNames = []string{"", "Diskless", "Attaching", "Detaching", "Failed", "Negotiating", "Inconsistent", "Outdated", "DUnknown", "Consistent", "UpToDate"}

func (d Disk) String() string { return word(diskNames, int(d)) }

// Connection is the state of the connection to a peer.
type Connection int

// The states of DRBD 9, which events2 and drbdsetup status of 8.4 use too: WFConnection of /proc/drbd is Connecting. NoConnection: see NoDisk.
const (
	NoConnection Connection = iota
	StandAlone
	Disconnecting
	Unconnected
	Timeout
	BrokenPipe
	NetworkFailure
	ProtocolError
	TearDown
	Connecting
	Connected
)

var connectionNames = []string{"", "StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError", "TearDown",
	"Connecting", "Connected"}

func (c Connection) String() string { return word(connectionNames, int(c)) }

// Replication is what a volume does over a connection.
type Replication int

// The states. S is the side that has the data, T the one that gets them. NoReplication: see NoDisk.
const (
	NoReplication Replication = iota
	Off
	Established
	StartingSyncS
	StartingSyncT
	WFBitMapS
	WFBitMapT
	WFSyncUUID
	SyncSource
	SyncTarget
	PausedSyncS
	PausedSyncT
	VerifyS
	VerifyT
	Ahead
	Behind
)

var replicationNames = []string{"", "Off", "Established", "StartingSyncS", "StartingSyncT", "WFBitMapS", "WFBitMapT", "WFSyncUUID", "SyncSource", "SyncTarget",
	"PausedSyncS", "PausedSyncT", "VerifyS", "VerifyT", "Ahead", "Behind"}

func (r Replication) String() string { return word(replicationNames, int(r)) }

// Suspended is the set of reasons why writes to a resource stand still.
type Suspended int

// The reasons.
const (
	ByUser     Suspended = 1 << iota // drbdadm suspend-io
	ByNoData                         // no good data can be reached
	ByFencing                        // the peer is lost, and nobody has said yet that it is gone
	ByQuorum                         // 9 only
	BySomebody                       // /proc/drbd does not say why
)

var suspendedNames = []string{"user", "no-data", "fencing", "quorum", "unknown reason"}

// String lists the reasons with commas, as drbdsetup does; "no" when there is none.
func (s Suspended) String() string {
	text := ""
	for i, name := range suspendedNames {
		if s&(1<<i) != 0 {
			text += "," + name
		}
	}
	if text == "" {
		return "no"
	}
	return text[1:]
}

// word is the name of a state; "?" for none.
func word(names []string, i int) string {
	if i <= 0 || i >= len(names) {
		return "?"
	}
	return names[i]
}

// find is the state of a name; 0 for one that is not known.
func find(names []string, name string) int {
	for i, n := range names {
		if n == name && i > 0 {
			return i
		}
	}
	return 0
}

// parseCS takes apart the connection state that 8.x has in /proc/drbd: it says both what the connection and what replication does.
func parseCS(name string) (Connection, Replication) {
	switch name {
	case "WFConnection":
		return Connecting, Off
	case "WFReportParams":
		return Connected, Off
	case "Connected":
		return Connected, Established
	}
	if c := Connection(find(connectionNames, name)); c != NoConnection && c != Connecting {
		return c, Off
	}
	if r := Replication(find(replicationNames, name)); r > Established {
		return Connected, r
	}
	return NoConnection, NoReplication
}
