package agentcmd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/control"
	"kvmctl/ha/drbd/create"
	"kvmctl/internal/runner"
)

// wipefsLimit is for wipefs, which reads some places of a disk, or clears them.
const wipefsLimit = 20 * time.Second

// awaitFor is how long init waits for a peer that may have been up for long, or not yet.
const awaitFor = 8 * time.Second

// createFacts gathers what create decides by. here asks for what only matters to data that stay.
func createFacts(ctx context.Context, r *conf.Resource, node *conf.Host, here bool) (f create.Facts, err error) {
	c := drbdControl()
	f = create.Facts{Resource: r.Name.Text, Peer: otherHost(r, node)}
	s, err := c.States(ctx)
	if err != nil {
		return f, err
	}
	p, _ := c.Proc() // 8.4 has it
	f.Nine = !strings.HasPrefix(p.Version, "8.")
	f.State, f.Up = s.Resource(f.Resource)
	f.Up = f.Up && len(f.State.Volumes) > 0
	if f.Up && !f.State.Failed() {
		return f, nil
	}
	for _, v := range r.VolumesOn(node) {
		if v.Disk.Text == "none" {
			continue
		}
		one, err := volumeFacts(ctx, c, f.Resource, v, here)
		if err != nil {
			return f, err
		}
		f.Volumes = append(f.Volumes, one)
		if one.Inside || v.MetaIndex.Text != "" { // an indexed one is others', too
			continue
		}
		meta, err := diskFacts(ctx, v.MetaDisk.Text, v.Minor)
		if err != nil {
			return f, err
		}
		f.Meta = append(f.Meta, meta)
	}
	return f, nil
}

func volumeFacts(ctx context.Context, c *control.Control, resource string, v conf.Volume, here bool) (one create.Volume, err error) {
	one.Number, one.Inside = v.Number, v.MetaDisk.Text == "" || v.MetaDisk.Text == "internal"
	if one.Disk, err = diskFacts(ctx, v.Disk.Text, v.Minor); err != nil || one.Disk.Missing || len(one.Disk.Users) > 0 {
		return one, err
	}
	there, used, err := c.Generation(ctx, resource, v.Number)
	switch {
	case err != nil:
		return one, err
	case used:
		one.Metadata = create.Used
	case there:
		one.Metadata = create.Fresh
	case here && one.Inside && len(one.Disk.Content) == 0:
		one.Tail, err = fullAtItsEnd(ctx, v.Disk.Text)
	}
	return one, err
}

// diskFacts says who uses a disk, but for our own minor, and what is on it.
func diskFacts(ctx context.Context, disk string, minor int) (d create.Disk, err error) {
	d.Path = disk
	if _, err := os.Stat(disk); errors.Is(err, os.ErrNotExist) {
		d.Missing = true
		return d, nil
	}
	if d.Users, err = usersOf(disk, fmt.Sprintf("drbd%d", minor)); err != nil || len(d.Users) > 0 {
		return d, err
	}
	d.Content, err = contentOf(ctx, disk)
	return d, err
}

// fullAtItsEnd reports whether there is anything but zeros where internal metadata would go: a bit for each 4 KiB (ha/drbd/create trusts no more than that
// drbdmeta asks for it), the activity log and the superblock.
func fullAtItsEnd(ctx context.Context, disk string) (bool, error) {
	f, err := os.Open(disk)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false, fmt.Errorf("look how large %s is: %w", disk, err)
	}
	const block, log = 4096, 40 << 10
	_, err = f.Seek(max(0, size-(size/block/8+block)&^(block-1)-log), io.SeekStart)
	piece := make([]byte, 1<<20)
	for err == nil && ctx.Err() == nil {
		var n int
		n, err = f.Read(piece)
		if len(bytes.Trim(piece[:n], "\x00")) > 0 {
			return true, nil
		}
	}
	if err == io.EOF {
		return false, nil
	}
	return false, fmt.Errorf("read the end of %s: %w", disk, cmp.Or(err, ctx.Err()))
}

// contentOf asks wipefs(8), which changes nothing without an option, for the signatures on a disk. DRBD's own are no content.
func contentOf(ctx context.Context, disk string) (content []string, err error) {
	within, cancel := context.WithTimeout(ctx, wipefsLimit)
	defer cancel()
	r, err := runner.Exec{}.Run(within, runner.Command{Argv: []string{"wipefs", "--json", disk}})
	if err == nil && (r.Exit != 0 || r.Truncated) {
		err = fmt.Errorf("exit %d: %s", r.Exit, r.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("look what is on %s: %w", disk, err)
	}
	var said struct {
		Signatures []struct {
			Type string `json:"type"`
		} `json:"signatures"`
	}
	if len(r.Stdout) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(r.Stdout, &said); err != nil {
		return nil, fmt.Errorf("look what is on %s: %w", disk, err)
	}
	for _, s := range said.Signatures {
		if s.Type != "drbd" {
			content = append(content, s.Type)
		}
	}
	return content, nil
}

var errNoStep = errors.New("this is no step")

// createAct carries a step out.
func createAct(ctx context.Context, s create.Step, resource string) error {
	c := drbdControl()
	switch s.Act {
	case create.Wipe:
		return wipe(ctx, s.Disk)
	case create.CreateMD:
		return c.CreateMetadata(ctx, resource, s.Volume)
	case create.Claim:
		return c.Claim(ctx, resource, s.Volume)
	case create.Up:
		return c.Up(ctx, resource)
	case create.Force:
		return c.ForcePrimary(ctx, resource)
	case create.Demote:
		return c.Secondary(ctx, resource)
	case create.SkipSync:
		return c.SkipSync(ctx, resource)
	case create.Refuse, create.Done, create.Await:
	}
	return errNoStep
}

// wipe takes the signatures off a disk: drbdmeta makes room on none that has a file system.
func wipe(ctx context.Context, disk string) error {
	within, cancel := context.WithTimeout(ctx, wipefsLimit)
	defer cancel()
	r, err := runner.Exec{}.Run(within, runner.Command{Argv: []string{"wipefs", "--all", disk}})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("exit %d: %s", r.Exit, bytes.TrimSpace(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("wipe %s: %w", disk, err)
	}
	return nil
}

// awaitPeer waits until the peer is connected; late says that it is not.
func awaitPeer(ctx context.Context, resource string) (late bool, err error) {
	within, cancel := context.WithTimeout(ctx, awaitFor)
	defer cancel()
	c := drbdControl()
	for {
		s, err := c.States(ctx)
		if err != nil {
			return false, err
		}
		if r, ok := s.Resource(resource); ok && r.Connected() {
			return false, nil
		}
		if pause(within, stepAgain) != nil {
			return ctx.Err() == nil, ctx.Err()
		}
	}
}
