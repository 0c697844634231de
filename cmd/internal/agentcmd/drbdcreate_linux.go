package agentcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/create"
	"kvmctl/internal/mountinfo"
	"kvmctl/internal/runner"
)

// awaitFor is how long init waits for a peer that may have been up for long, or not yet.
const awaitFor = 8 * time.Second

// createFacts gathers what create decides by.
func createFacts(ctx context.Context, r *conf.Resource, here *conf.Host) (f create.Facts, err error) {
	c := drbdControl()
	f = create.Facts{Resource: r.Name.Text, Peer: otherHost(r, here)}
	s, err := c.States(ctx)
	if err != nil {
		return f, err
	}
	if f.State, f.Up = s.Resource(f.Resource); f.Up && len(f.State.Volumes) > 0 {
		return f, nil
	}
	f.Up = false
	with := 0
	volumes := r.VolumesOn(here)
	for _, v := range volumes {
		one, err := diskFacts(ctx, v.Disk.Text)
		if err != nil {
			return f, err
		}
		f.Volumes = append(f.Volumes, one)
		if one.Missing {
			continue
		}
		has, err := c.HasMetadata(ctx, f.Resource, v.Number)
		if err != nil && len(one.Users) == 0 { // a disk that is in use is refused for that
			return f, err
		}
		if has {
			with++
		}
	}
	switch with {
	case 0:
	case len(volumes):
		f.Metadata = create.AllMetadata
	default:
		f.Metadata = create.SomeMetadata
	}
	return f, nil
}

// diskFacts says who uses a disk and what is on it.
func diskFacts(ctx context.Context, disk string) (v create.Volume, err error) {
	v.Disk = disk
	if _, err := os.Stat(disk); errors.Is(err, os.ErrNotExist) {
		v.Missing = true
		return v, nil
	}
	if v.Users, err = usersOf(disk); err != nil {
		return v, err
	}
	v.Content, err = contentOf(ctx, disk)
	return v, err
}

// usersOf names who has a block device to himself: open(2) with O_EXCL is refused then.
func usersOf(disk string) (users []string, err error) {
	fd, err := unix.Open(disk, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		return nil, unix.Close(fd)
	}
	if !errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("open %s: %w", disk, err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(disk, &stat); err != nil {
		return nil, fmt.Errorf("look who uses %s: %w", disk, err)
	}
	major, minor := unix.Major(uint64(stat.Rdev)), unix.Minor(uint64(stat.Rdev))
	all, _ := mountinfo.Read() // who it is is for people only
	for _, e := range all {
		if e.Major == major && e.Minor == minor {
			users = append(users, "mounted at "+e.Point)
		}
	}
	holders, _ := filepath.Glob(fmt.Sprintf("/sys/dev/block/%d:%d/holders/*", major, minor))
	for _, h := range holders {
		users = append(users, "part of "+filepath.Base(h))
	}
	if users == nil {
		users = []string{"the kernel says that it is busy"}
	}
	return users, nil
}

// contentOf asks wipefs(8), which changes nothing without an option, for the signatures on a disk. DRBD's own are no content.
func contentOf(ctx context.Context, disk string) (content []string, err error) {
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
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
func createAct(ctx context.Context, act create.Act, resource string) error {
	c := drbdControl()
	switch act {
	case create.CreateMD:
		return c.CreateMetadata(ctx, resource)
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
