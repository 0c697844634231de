package failover

import "time"

// Machine is the state of one group on one node. It is not safe for concurrent use; the agent's loop owns it.
type Machine struct {
	cfg Config
	now time.Time // of the Step under way; all times are made from CLOCK_BOOTTIME by the caller and only compared
	out []Effect  // of the Step under way

	role   Role
	reason Reason // of Waiting
	since  time.Time
	cause  string
}

// Status is what `kvmha status` shows of a group.
type Status struct {
	Role   Role
	Reason Reason // of Waiting
	Since  time.Time
	Cause  string // of the last change
}

// New makes the machine of a group that has just been configured, in the role Starting. The first facts are told by Step.
func New(cfg Config, now time.Time) *Machine {
	return &Machine{cfg: cfg, now: now, since: now}
}

// Status gives the state at the end of the last Step.
func (m *Machine) Status() Status {
	return Status{Role: m.role, Reason: m.reason, Since: m.since, Cause: m.cause}
}
