package control

import (
	"context"
	"fmt"
	"os"

	"kvmctl/ha/drbd"
)

// procPath is DRBD's file up to 8.4.
const procPath = "/proc/drbd"

// Changed gives how much of a resource differs, or may differ, from its peer's data as they were when the two parted, in KiB: what the bitmap has here.
// Of one that is StandAlone only /proc/drbd tells it in 8.4; known is false where nobody does.
func (c *Control) Changed(_ context.Context, r drbd.Resource) (kib uint64, known bool, err error) {
	p, err := c.Proc()
	if err != nil {
		return 0, false, err
	}
	kib, known = changedOf(p, r)
	return kib, known, nil
}

// Proc reads /proc/drbd: of 8.4 what its states do not tell, of 9 nothing but the version.
func (c *Control) Proc() (drbd.Proc, error) {
	text, err := os.ReadFile(procPath)
	if err != nil {
		return drbd.Proc{}, fmt.Errorf("read what has changed: %w", err)
	}
	return drbd.ParseProc(text)
}

func changedOf(p drbd.Proc, r drbd.Resource) (kib uint64, known bool) {
	found := 0
	for _, m := range p.Minors {
		for _, v := range r.Volumes {
			if m.Minor == v.Minor && m.Configured {
				kib += m.OutOfSync
				found++
			}
		}
	}
	if len(r.Volumes) > 0 && found == len(r.Volumes) {
		return kib, true
	}
	for _, peer := range r.Peers { // DRBD 9
		if len(peer.Volumes) != len(r.Volumes) {
			return 0, false
		}
	}
	return r.OutOfSync(), len(p.Minors) == 0 && len(r.Peers) > 0 && len(r.Volumes) > 0
}
