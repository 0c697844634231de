package control

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kvmctl/ha/drbd"
)

// createLimit is for create-md, which writes the bitmap of internal metadata: 32 MiB for a TiB of disk.
const createLimit = 5 * time.Minute

// HasMetadata reports whether a volume's disk has DRBD's metadata, while the resource is down.
func (c *Control) HasMetadata(ctx context.Context, resource string, volume int) (bool, error) {
	err := c.adm(ctx, actLimit, "dump-md", fmt.Sprintf("%s/%d", resource, volume))
	switch {
	case err == nil:
		return true, nil
	case IsReason(err, BadMetadata):
		return false, nil
	case strings.Contains(err.Error(), "unclean"): // of a node that was cut off: apply-al has to come first
		return true, nil
	}
	return false, err
}

// CreateMetadata writes DRBD's metadata to the disks of a resource. drbdmeta refuses where they would lie on a file system's data; metadata that are there
// would be overwritten, so look before.
func (c *Control) CreateMetadata(ctx context.Context, resource string) error {
	return c.adm(ctx, createLimit, "create-md", resource, "--force")
}

// ForcePrimary makes this node Primary and its data the good ones, whatever DRBD thinks of them.
func (c *Control) ForcePrimary(ctx context.Context, resource string) error {
	if err := c.adm(ctx, primaryLimit, "primary", resource, "--force"); err != nil {
		return err
	}
	return c.is(ctx, "primary", resource, func(r drbd.Resource) bool { return r.Role == drbd.Primary && r.AllUpToDate() })
}

// SkipSync has both sides begin without a copy: their disks were just created, are connected, and nobody's data are any good.
func (c *Control) SkipSync(ctx context.Context, resource string) error {
	const act = "new-current-uuid"
	if err := c.adm(ctx, actLimit, act, resource, "--clear-bitmap"); err != nil {
		return err
	}
	return c.is(ctx, act, resource, drbd.Resource.AllUpToDate)
}
