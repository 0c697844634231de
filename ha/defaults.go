package ha

import "time"

// Where things are, below the agent's root.
const (
	ConfigFile = "/etc/kvmha.toml"
	StateDir   = "/var/lib/kvmha"
	RunDir     = "/run/kvmha"
)

// MaxPassword is the longest CARP key, in bytes: ucarp exits with "Password too long" at 20, and FreeBSD's strlcpy silently keeps 19.
const MaxPassword = 19

// The bounds of CARP's own figures.
const (
	MaxBase = 254 // 255 is the bow-out
	MaxSkew = 254 // likewise
)

// What a group takes where its file says nothing.
const (
	DefaultBase      = 1 // seconds
	DefaultSkew      = 0
	DefaultDeadRatio = 3
	DefaultPeer      = PeerKVMHA

	DefaultPreemptDelay     = 10 * time.Second
	DefaultCarrierUpDelay   = 2 * time.Second
	DefaultCarrierDownDelay = 100 * time.Millisecond

	DefaultRestarts      = 1
	DefaultRestartWindow = 10 * time.Minute
	DefaultOnFailure     = FailureHandOver
	DefaultRemind        = 4 * time.Hour

	DefaultDampingMin    = time.Second
	DefaultDampingMax    = 300 * time.Second
	DefaultDampingMoves  = 2
	DefaultDampingWindow = 10 * time.Minute

	DefaultStartTimeout = 30 * time.Second
	DefaultStopTimeout  = 30 * time.Second
	DefaultHookTimeout  = 30 * time.Second

	DefaultCheckInterval = time.Second
	DefaultCheckTimeout  = time.Second
	DefaultSIDInterval   = 10 * time.Minute // what hardly ever changes, by two programs of Samba
	DefaultSIDTimeout    = 30 * time.Second
	DefaultFall          = 3
	DefaultRise          = 2

	DefaultVoiceTimeout = 30 * time.Second
)

// DefaultOrder is a promote's order.
func DefaultOrder() []Stage {
	return []Stage{StageDRBD, StageMounts, StageUnits, StageChecks, StageAddress, StageAnnounce, StageHooks}
}

// DefaultGroup is a group of which the file says nothing but its name.
func DefaultGroup(name string) Group {
	return Group{
		Name: name, Base: DefaultBase, Skew: DefaultSkew, DeadRatio: DefaultDeadRatio, Peer: DefaultPeer,
		PreemptDelay: DefaultPreemptDelay, Probe: true,
		CarrierUpDelay: DefaultCarrierUpDelay, CarrierDownDelay: DefaultCarrierDownDelay,
		Order: DefaultOrder(), Restarts: DefaultRestarts, RestartWindow: DefaultRestartWindow, OnFailure: DefaultOnFailure, Remind: DefaultRemind,
		Damping: Damping{Min: DefaultDampingMin, Max: DefaultDampingMax, Moves: DefaultDampingMoves, Window: DefaultDampingWindow},
		Hooks:   Hooks{Timeout: DefaultHookTimeout},
		Storage: Storage{FenceAfter: DefaultFenceAfter, AddressWait: DefaultAddressWait},
	}
}

// DefaultUnit is a unit of which only kind and name are known.
func DefaultUnit(kind UnitKind, name string) Unit {
	return Unit{Kind: kind, Name: name, StartTimeout: DefaultStartTimeout, StopTimeout: DefaultStopTimeout}
}

// DefaultCheck is a check of which only the type is known.
func DefaultCheck(t CheckType) Check {
	c := Check{Type: t, Interval: DefaultCheckInterval, Timeout: DefaultCheckTimeout, Fall: DefaultFall, Rise: DefaultRise}
	if t == CheckSID {
		c.Interval, c.Timeout = DefaultSIDInterval, DefaultSIDTimeout
	}
	return c
}
