package ha

import (
	"time"

	"kvmctl/ha/confsync"
)

// Storage is what a group has of DRBD and file systems. Without a resource it has none.
type Storage struct {
	Alone       string             // who may go on without the other: a node's name, "arbiter" or "fence" (package right)
	Fence       string             // the Fence that ends the peer; empty: none
	FenceAfter  time.Duration      // the peer has been silent on every path for so long before it is fenced; the standby waits longer
	AddressWait time.Duration      // how long a resource's own replication address is waited for, at boot
	Verify      confsync.TimeOfDay // when both sides are compared, each day; not set: never
	Resources   []Resource         // in the order in which they become primary
	Mounts      []Mount            // in the order in which they are mounted
}

// Resource is a DRBD resource of a group.
type Resource struct {
	Name string // as drbd.conf calls it
}

// Mount is a file system on a device of a group's.
type Mount struct {
	Device  string
	Dir     string
	Type    string // as mount -t has it
	Options string // as mount -o has them; empty: the defaults
	Fsck    string // what is done before: FsckPreen, FsckFail or FsckNever

	MountTimeout   time.Duration
	UnmountTimeout time.Duration
}

// What is done about a file system before it is mounted.
const (
	FsckPreen = "preen" // mended where that needs nobody, as at boot
	FsckFail  = "fail"  // looked at, and not mounted unless it is clean
	FsckNever = "never" // mounted as it is
)

// FenceKind is how a peer is ended for certain.
type FenceKind string

// The kinds, as the file writes them.
const (
	FenceKVMCTL FenceKind = "kvmctl" // the peer is a guest of this host
	FenceExec   FenceKind = "exec"   // a program of fence-agents: a PDU, an IPMI
	FenceManual FenceKind = "manual" // a person says so
)

// Fence is a [fence.<name>] of the file.
type Fence struct {
	Name       string
	Kind       FenceKind
	VM         string   // kvmctl: the guest's name
	Agent      string   // exec: the program
	Parameters []string // exec: name=value each, as the program's manual has them
	Password   Secret   // exec: its parameter "password"
	Timeout    time.Duration
}

// What storage takes where its file says nothing.
const (
	DefaultFenceAfter     = 3 * time.Second
	DefaultAddressWait    = time.Minute
	DefaultMountTimeout   = 2 * time.Minute // with the check of the file system
	DefaultUnmountTimeout = 30 * time.Second
	DefaultFenceTimeout   = 30 * time.Second
	DefaultFsck           = FsckPreen
	DefaultFileSystem     = "ext4"
)
