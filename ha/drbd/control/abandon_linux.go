package control

import (
	"context"
	"slices"
	"time"

	"kvmctl/ha/drbd"
)

// diskLook is how often a disk that is being let go of is looked at.
const diskLook = 50 * time.Millisecond

// Abandon has writes that stand still fail, so that whoever waits for them ends and the device can be let go of: nothing of them was ever acknowledged. It is
// DRBD's own way out of a freeze (drbd_nl.c, drbd_adm_resume_io: "forced down"): without a disk, resume-io fails what is pending. Only when every disk has
// been let go of, or it would begin a new generation, which is a split brain. It is refused unless the resource is Primary, frozen and without its peer.
func (c *Control) Abandon(ctx context.Context, resource string) error {
	const act = "detach"
	within, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	r, err := c.state(within, act, resource)
	if err == nil {
		err = mayAbandon(r)
	}
	if err != nil {
		return err
	}
	if err := c.adm(within, actLimit, act, resource, "--force"); err != nil {
		return err
	}
	for {
		r, err := c.state(within, act, resource)
		if err != nil {
			return err
		}
		if err := mayAbandon(r); err != nil { // somebody has told it to go on meanwhile
			return err
		}
		if diskless(r) {
			break
		}
		select {
		case <-within.Done():
			return &Error{Act: act, Resource: resource, Reason: NotDone, Said: "its disk is not let go of", cause: context.Cause(within)}
		case <-time.After(diskLook):
		}
	}
	return c.ResumeIO(within, resource)
}

func mayAbandon(r drbd.Resource) error {
	e := &Error{Act: "abandon", Resource: r.Name}
	switch {
	case r.Role != drbd.Primary:
		e.Reason = IsSecondary
	case slices.ContainsFunc(r.Peers, func(p drbd.Peer) bool { return p.Connection == drbd.Connected }):
		e.Reason = IsConnected
	case r.Suspended&^drbd.ByUser == 0:
		e.Reason = NotSuspended
	default:
		return nil
	}
	return e
}

func diskless(r drbd.Resource) bool {
	return !slices.ContainsFunc(r.Volumes, func(v drbd.Volume) bool { return v.Disk != drbd.Diskless })
}

// spent reports whether nothing is left of a resource but its name, as after Abandon: the kernel takes no disk for it again before it was down.
func spent(r drbd.Resource) bool {
	return r.Role == drbd.Secondary && len(r.Volumes) > 0 && diskless(r) && !slices.ContainsFunc(r.Peers, func(p drbd.Peer) bool { return p.Connection == drbd.Connected })
}
