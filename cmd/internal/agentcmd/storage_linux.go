package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvmctl/ha"
	"kvmctl/ha/arbiter"
	"kvmctl/ha/drbd"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/control"
	"kvmctl/ha/fence"
	"kvmctl/ha/mount"
	"kvmctl/ha/salvage"
	"kvmctl/ha/storage"
	"kvmctl/internal/runner"
	"kvmctl/internal/smallfile"
)

// storageWorld is the disks of this machine.
func (a *app) storageWorld() *ha.StorageWorld {
	run := runner.Exec{}
	mounter := mount.New(run)
	return &ha.StorageWorld{
		Disks: disks{control.New(run)}, Records: a.rightPath(), Addresses: a.awaitAddress,
		Mounts:  func(g ha.Group) storage.Mounts { return mounts{mounter, g} },
		Fencer:  func(f ha.Fence) (storage.Fencer, error) { return a.fencer(f, run) },
		Backing: a.backing, Kept: a.keptPath(),
	}
}

// disks is DRBD as the agent's storage wants it.
type disks struct{ *control.Control }

// Watch tells the states.
func (d disks) Watch(ctx context.Context, tell func(drbd.State, error)) error {
	return d.Control.Watch(ctx, control.Watching{}, func(t control.Told) { tell(t.State, t.Err) })
}

// Secondary is control's; what is not there is secondary.
func (d disks) Secondary(ctx context.Context, resource string) error {
	err := d.Control.Secondary(ctx, resource)
	if control.IsReason(err, control.NotConfigured, control.NoModule) {
		return nil
	}
	return err
}

// mounts are the file systems of one group.
type mounts struct {
	*mount.Mounter
	group ha.Group
}

var errNoMount = errors.New("the group mounts nothing there")

func (m mounts) of(dir string) (mount.Mount, error) {
	for _, one := range m.group.Storage.Mounts {
		if one.Dir != dir {
			continue
		}
		out := mount.Mount{Device: one.Device, Dir: one.Dir, Type: one.Type, Options: one.Options}
		return out, out.Fsck.UnmarshalText([]byte(one.Fsck))
	}
	return mount.Mount{}, fmt.Errorf("%s: %w", dir, errNoMount)
}

// Mount mounts what belongs at a directory.
func (m mounts) Mount(ctx context.Context, dir string) error {
	one, err := m.of(dir)
	if err != nil {
		return err
	}
	err = m.Mounter.Mount(ctx, one)
	if sick, ok := errors.AsType[*mount.CheckError](err); ok {
		return &byHandError{err, m.byHand(sick.Command)}
	}
	return err
}

// byHand is how a person types a command about a device of the group's: while nobody is active, on a node that may write.
func (m mounts) byHand(command string) string {
	var names []string
	for _, r := range m.group.Storage.Resources {
		names = append(names, r.Name)
	}
	all := strings.Join(names, " ")
	return fmt.Sprintf("kvmha maintenance on %[1]s && drbdadm primary %[2]s && %[3]s; drbdadm secondary %[2]s; kvmha maintenance off %[1]s", m.group.Name, all, command)
}

// byHandError is an error with what a person is to type.
type byHandError struct {
	error
	command string
}

func (e *byHandError) Unwrap() error { return e.error }

// Hint is that command.
func (e *byHandError) Hint() string { return e.command }

// Unmount unmounts it, with the end of whoever holds it. Where there is no device nothing can be mounted.
func (m mounts) Unmount(ctx context.Context, dir string) (ended []string, err error) {
	one, err := m.of(dir)
	if err != nil {
		return nil, err
	}
	holders, err := m.Mounter.Unmount(ctx, one, true)
	for _, h := range holders {
		if h.Fate != mount.Stays {
			ended = append(ended, h.String())
		}
	}
	if errors.Is(err, mount.ErrNoDevice) {
		return ended, nil
	}
	return ended, err
}

// fencer is a [fence.<name>].
type fencer struct {
	fence.Fencer
	within time.Duration
}

// Fence ends a node for certain, or gives an error.
func (f fencer) Fence(ctx context.Context, group, node string, id arbiter.ID) error {
	_, err := fence.Ask(ctx, f.Fencer, fence.Request{ID: id, Group: group, Node: node, Within: f.within})
	return err
}

func (a *app) fencer(f ha.Fence, run runner.Runner) (storage.Fencer, error) {
	switch f.Kind {
	case ha.FenceKVMCTL:
		node := a.node()
		return fencer{&fence.Host{Program: "kvmctl", VM: f.VM, For: node, Run: run}, f.Timeout}, nil
	case ha.FenceExec:
		agent, err := fence.NewAgent(f.Agent, f.Parameters, f.Password.Reveal(), run)
		if err != nil {
			return nil, fmt.Errorf("fence %s: %w", f.Name, err)
		}
		return fencer{agent, f.Timeout}, nil
	case ha.FenceManual: // confirm-dead is a person's word under every key
	}
	return nil, nil
}

// node is this node's name.
func (a *app) node() string {
	spec, err := a.load(a.configPath())
	if err != nil {
		return ""
	}
	return spec.Node
}

// addressLook is how often a resource's own address is looked for.
const addressLook = 200 * time.Millisecond

// awaitAddress waits until the address that drbd.conf gives this host for a resource is there.
func (a *app) awaitAddress(ctx context.Context, resource string) error {
	c, err := conf.Load(conf.Dir(a.root), a.root, conf.Main)
	if err != nil {
		return err
	}
	want := replicationAddress(c, resource, a.drbdHost())
	if !want.IsValid() {
		return nil // DRBD itself says what is wrong with it
	}
	for {
		there, err := net.InterfaceAddrs()
		if err != nil {
			return fmt.Errorf("list the addresses: %w", err)
		}
		if slices.ContainsFunc(there, func(n net.Addr) bool { return strings.HasPrefix(n.String(), want.String()+"/") }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not there", want)
		case <-time.After(addressLook):
		}
	}
}

var errNoBacking = errors.New("drbd.conf names no disk for it on this host")

// backing lists what lies below a resource's volumes here.
func (a *app) backing(resource string) (images []salvage.Image, err error) {
	c, err := conf.Load(conf.Dir(a.root), a.root, conf.Main)
	if err != nil {
		return nil, err
	}
	host := a.drbdHost()
	for _, r := range c.Resources {
		for _, h := range r.Hosts {
			if r.Name.Text != resource || !h.Called(host) {
				continue
			}
			for _, v := range r.VolumesOn(h) {
				if v.Disk.Text == "" || v.Disk.Text == "none" {
					continue
				}
				size, err := salvage.Size(v.Disk.Text)
				if err != nil {
					return nil, err
				}
				images = append(images, salvage.Image{Volume: v.Number, Device: v.Disk.Text, File: fmt.Sprintf("volume-%d.img", v.Number), Size: size,
					Data: dataSize(v)})
			}
		}
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("%s: %w", resource, errNoBacking)
	}
	return images, nil
}

// replicationAddress is that of a resource on a host; the zero one: drbd.conf does not say.
func replicationAddress(c *conf.Config, resource, host string) netip.Addr {
	for _, r := range c.Resources {
		if r.Name.Text != resource {
			continue
		}
		for _, h := range r.Hosts {
			if h.Called(host) {
				return h.Address.IP
			}
		}
	}
	return netip.Addr{}
}

// dataSize is how large DRBD makes a volume, in bytes; 0: it does not say. The device itself cannot be opened where it is secondary.
func dataSize(v conf.Volume) uint64 {
	text, err := smallfile.Read(fmt.Sprintf("/sys/block/drbd%d/size", v.Minor), 64)
	if err != nil {
		return 0
	}
	sectors, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 48)
	if err != nil {
		return 0
	}
	return sectors << 9
}
