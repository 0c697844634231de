package control

import (
	"context"
	"fmt"
	"slices"

	"kvmctl/ha/drbd"
)

// Up has the resource as drbd.conf says, whatever of it there is: configured, its disks attached, a connect under way (of a StandAlone one too: in
// split brain that ends as before). Done already is no error. Nothing is created on a disk that has no metadata.
func (c *Control) Up(ctx context.Context, resource string) error {
	const act = "adjust"
	if r, err := c.state(ctx, act, resource); err == nil && spent(r) {
		if err := c.Down(ctx, resource); err != nil {
			return err
		}
	}
	if err := c.adm(ctx, actLimit, act, resource); err != nil {
		return err
	}
	r, err := c.state(ctx, act, resource)
	if err == nil && r.Failed() {
		err = &Error{Act: act, Resource: resource, Reason: NoDisk, Said: "it came up without its disk"}
	}
	return err
}

// Down takes the resource down, if nobody has it open; done already is no error.
func (c *Control) Down(ctx context.Context, resource string) error {
	const act = "down"
	if err := c.adm(ctx, actLimit, act, resource); err != nil {
		return err
	}
	_, err := c.state(ctx, act, resource)
	switch {
	case err == nil:
		return &Error{Act: act, Resource: resource, Reason: NotDone}
	case IsReason(err, NotConfigured):
		return nil
	}
	return err
}

// Primary lets this node write. It never forces. A fence handler's first answer fails the first try (the kernel takes the peer's disk for outdated from
// then on), so a try that failed for it is made once more.
func (c *Control) Primary(ctx context.Context, resource string) error {
	const act = "primary"
	err := c.adm(ctx, primaryLimit, act, resource)
	if IsReason(err, PeerNotFenced) {
		err = c.adm(ctx, primaryLimit, act, resource)
	}
	if err != nil {
		return err
	}
	return c.is(ctx, act, resource, func(r drbd.Resource) bool { return r.Role == drbd.Primary })
}

// Secondary lets this node write no more. HeldOpen: somebody has the device open, mostly by a mount.
func (c *Control) Secondary(ctx context.Context, resource string) error {
	const act = "secondary"
	if err := c.adm(ctx, actLimit, act, resource); err != nil {
		return err
	}
	return c.is(ctx, act, resource, func(r drbd.Resource) bool { return r.Role == drbd.Secondary })
}

// is checks that an act had its effect.
func (c *Control) is(ctx context.Context, act, resource string, done func(drbd.Resource) bool) error {
	r, err := c.state(ctx, act, resource)
	if err == nil && !done(r) {
		err = &Error{Act: act, Resource: resource, Reason: NotDone}
	}
	return err
}

// Outdate marks the data here as older than the peer's, so that nothing but force makes this node Primary. It is refused on a node that is Primary or
// connected: drbdadm would say yes there and do nothing.
func (c *Control) Outdate(ctx context.Context, resource string) error {
	const act = "outdate"
	r, err := c.state(ctx, act, resource)
	if err == nil {
		err = mayOutdate(r)
	}
	if err != nil {
		return err
	}
	if slices.IndexFunc(r.Volumes, good) < 0 {
		return nil // Outdated, or worse, already
	}
	if err := c.adm(ctx, actLimit, act, resource); err != nil {
		return err
	}
	return c.is(ctx, act, resource, func(r drbd.Resource) bool { return slices.IndexFunc(r.Volumes, good) < 0 })
}

// good reports whether a volume's disk might be taken for one with the newest data.
func good(v drbd.Volume) bool {
	return v.Disk == drbd.UpToDate || v.Disk == drbd.Consistent || v.Disk == drbd.NoDisk
}

func mayOutdate(r drbd.Resource) error {
	e := &Error{Act: "outdate", Resource: r.Name}
	switch {
	case r.Role != drbd.Secondary:
		e.Reason = IsPrimary
	case slices.ContainsFunc(r.Peers, func(p drbd.Peer) bool { return p.Connection == drbd.Connected }):
		e.Reason = IsConnected
	default:
		return nil
	}
	return e
}

// Connect has the resource try to reach its peer; trying already is no error.
func (c *Control) Connect(ctx context.Context, resource string) error {
	r, err := c.state(ctx, "connect", resource)
	if err != nil || !r.StandAlone() {
		return err
	}
	return c.adm(ctx, actLimit, "connect", resource)
}

// ConnectDiscardMyData connects as the loser of a split brain: what was written here since is overwritten with what the peer has. It is refused unless
// the resource is StandAlone and Secondary. DRBD discards nothing where there is no split brain.
func (c *Control) ConnectDiscardMyData(ctx context.Context, resource string) error {
	const act = "connect"
	r, err := c.state(ctx, act, resource)
	switch {
	case err != nil:
		return err
	case r.Role != drbd.Secondary:
		return &Error{Act: act, Resource: resource, Reason: IsPrimary}
	case !r.StandAlone():
		return &Error{Act: act, Resource: resource, Reason: IsConnected}
	}
	return c.adm(ctx, actLimit, act, resource, "--discard-my-data")
}

// Disconnect has the resource StandAlone; done already is no error.
func (c *Control) Disconnect(ctx context.Context, resource string) error {
	const act = "disconnect"
	r, err := c.state(ctx, act, resource)
	if err != nil || r.StandAlone() {
		return err
	}
	if err := c.adm(ctx, actLimit, act, resource); err != nil {
		return err
	}
	return c.is(ctx, act, resource, drbd.Resource.StandAlone)
}

// Verify begins an online verification, at the first block: by itself DRBD goes on where one was broken off, which leaves out what comes before. It is refused
// unless everything is UpToDate on both sides and nothing of the kind runs.
func (c *Control) Verify(ctx context.Context, resource string) error {
	r, err := c.state(ctx, "verify", resource)
	if err == nil {
		err = mayVerify(r)
	}
	if err != nil {
		return err
	}
	return c.adm(ctx, actLimit, "verify", resource, "--setup-option=--start=0")
}

func mayVerify(r drbd.Resource) error {
	e := &Error{Act: "verify", Resource: r.Name}
	switch {
	case r.Verifying() || r.Resyncing() != drbd.Nowhere:
		e.Reason = SyncRuns
	case !r.AllUpToDate():
		e.Reason = NotUpToDate
	case !r.Connected():
		e.Reason = NoPeer
	case !r.PeerUpToDate():
		e.Reason = PeerNotUpToDate
	default:
		return nil
	}
	return e
}

// ResumeIO lets writes go on that stand still. Under resource-and-stonith that says: the peer is dead for certain. Not suspended is no error.
func (c *Control) ResumeIO(ctx context.Context, resource string) error {
	const act = "resume-io"
	r, err := c.state(ctx, act, resource)
	if err != nil || r.Suspended == 0 {
		return err
	}
	if err := c.adm(ctx, actLimit, act, resource); err != nil {
		return err
	}
	if r, err = c.state(ctx, act, resource); err == nil && r.Suspended != 0 {
		err = &Error{Act: act, Resource: resource, Reason: IsSuspended, Said: fmt.Sprint("by ", r.Suspended)}
	}
	return err
}
