package control

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kvmctl/ha/drbd"
)

// createLimit is for create-md, which writes the bitmap of internal metadata: 32 MiB for a TiB of disk.
const createLimit = 5 * time.Minute

// justCreated is the generation of data that never were good: UUID_JUST_CREATED of linux/drbd.h.
const justCreated = 4

// Generation is what the metadata of a volume say of its data, while it has no disk attached: whether there are metadata at all, and whether the data were
// ever good.
func (c *Control) Generation(ctx context.Context, resource string, volume int) (there, used bool, err error) {
	const act = "get-gi"
	if err := named(act, resource); err != nil {
		return false, false, err
	}
	out, err := c.run(ctx, act, resource, actLimit, "drbdadm", act, fmt.Sprintf("%s/%d", resource, volume))
	if err != nil {
		there, err = c.whyNone(ctx, resource, volume, err)
		return there, there, err
	}
	used, err = everGood(out)
	if err != nil {
		err = &Error{Act: act, Resource: resource, Said: err.Error(), cause: err}
	}
	return err == nil, used, err
}

// whyNone asks why get-gi told nothing, which it keeps to itself: no metadata are no error, and such as it cannot read are there.
func (c *Control) whyNone(ctx context.Context, resource string, volume int, err error) (there bool, _ error) {
	if IsReason(err, BadMetadata) {
		return false, nil
	}
	dump := c.adm(ctx, actLimit, "dump-md", fmt.Sprintf("%s/%d", resource, volume))
	switch {
	case IsReason(dump, BadMetadata):
		return false, nil
	case dump == nil, strings.Contains(dump.Error(), "unclean"): // of a node that was cut off: apply-al has to come first
		return true, nil
	}
	return false, dump
}

var errGeneration = errors.New("drbdmeta told no generation")

// everGood reads what get-gi prints: the current generation, a colon, and more.
func everGood(out []byte) (bool, error) {
	for line := range strings.Lines(string(out)) {
		current, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if n, err := strconv.ParseUint(current, 16, 64); ok && err == nil {
			return n&^1 != justCreated, nil // the lowest bit is that of a primary
		}
	}
	return false, errGeneration
}

// CreateMetadata writes DRBD's metadata to the disk of a volume. drbdmeta refuses where they would lie on the data of a file system whose size it can read;
// of anything else it overwrites the end, and metadata that are there, too: look before.
func (c *Control) CreateMetadata(ctx context.Context, resource string, volume int) error {
	return c.adm(ctx, createLimit, "create-md", fmt.Sprintf("%s/%d", resource, volume), "--force")
}

// Claim has the metadata of a volume that were just created say that its data are good, and are a generation of their own: another node's never overwrite
// them by themselves, and a disk that was just created gets a copy. For DRBD 8.
func (c *Control) Claim(ctx context.Context, resource string, volume int) error {
	const act = "set-gi"
	there, used, err := c.Generation(ctx, resource, volume)
	switch {
	case err != nil:
		return err
	case !there:
		return &Error{Act: act, Resource: resource, Reason: BadMetadata}
	case used:
		return &Error{Act: act, Resource: resource, Said: "its data have a generation already"}
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	generation := fmt.Sprintf("%016X:0:0:0:1:1", binary.BigEndian.Uint64(id[:])&^1|1<<63)
	_, err = c.run(ctx, act, resource, actLimit, "drbdadm", "--", "--force", generation, act, fmt.Sprintf("%s/%d", resource, volume))
	return err
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
