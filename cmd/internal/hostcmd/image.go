package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
	"kvmctl/vm/image"
)

func newImage(a *app) *cobra.Command {
	return family(&cobra.Command{
		Use:   "image",
		Short: "Make, examine, resize, check and convert disk images",
		Long: `Make and look after disk images.

A word without a slash that is a guest's name means that guest's disks, and <vm>:<disk> one of
them, counted from 0. Anything else is a file; ./ before a name makes it one. A guest's disk goes
by the format that its vm.toml names, for a guest can write any header into its own raw disk.`,
		Example: `  kvmctl image create /srv/data.qcow2 20G
  kvmctl image info vm-olorin
  kvmctl image resize vm-olorin:0 +10G
  kvmctl image mount vm-olorin /mnt`,
	}, newImageCreate(a), newImageInfo(a), newImageResize(a), newImageCheck(a), newImageConvert(a),
		newImageParts(a), newImageMount(a), newImageUmount(a))
}

// target is an image that a command line names.
type target struct {
	path    string
	format  string   // that it goes by
	guessed bool     // the format is what its header claims: nobody vouches for it
	users   []diskOf // the guests whose vm.toml names it, sorted by name
}

// diskOf is a disk of a guest's.
type diskOf struct {
	guest string
	disk  int
}

func (u diskOf) String() string { return u.guest + ":" + strconv.Itoa(u.disk) }

// imageTargets finds what arg names: all disks of a guest, one of them, or a file. format is the admin's word for a file's, or empty.
func (a *app) imageTargets(ctx context.Context, s *configs.Site, arg, act, format string) ([]target, error) {
	name, disk, one := strings.Cut(arg, ":")
	_, err := s.Guest(name)
	if strings.Contains(arg, "/") || err != nil {
		t, ferr := fileTarget(ctx, s, arg, format)
		if errors.Is(ferr, fs.ErrNotExist) && !strings.Contains(arg, "/") {
			return nil, cli.Failed(nearGuest(err), "cannot %s %s: neither a guest nor a file", act, arg)
		}
		if ferr != nil {
			return nil, permission(fmt.Errorf("cannot %s %s: %w", act, arg, imageError(ferr)))
		}
		return []target{t}, nil
	}
	g, err := a.guest(s, name, act+" the images of")
	if err != nil {
		return nil, err
	}
	var all []target
	for _, d := range g.Spec.Disks {
		all = append(all, target{path: d.Image, format: d.Format, users: usersOf(s, d.Image)})
	}
	if !one {
		return all, nil
	}
	n, err := strconv.Atoi(disk)
	if err != nil || n < 0 || n >= len(all) {
		return nil, cli.Failed("kvmctl image info "+name, "cannot %s %s: the guest has no disk %q; it has %d, counted from 0", act, arg, disk, len(all))
	}
	return all[n : n+1], nil
}

// oneTarget is imageTargets for commands that work on a single image.
func (a *app) oneTarget(ctx context.Context, s *configs.Site, arg, act, format string) (target, error) {
	all, err := a.imageTargets(ctx, s, arg, act, format)
	switch {
	case err != nil:
		return target{}, err
	case len(all) == 0:
		return target{}, cli.Failed("kvmctl show "+arg, "cannot %s %s: the guest has no disk", act, arg)
	case len(all) > 1:
		return target{}, cli.Usage("kvmctl image "+act+" "+arg+":0 …", "cannot %s %s: the guest has %d disks; say which one", act, arg, len(all))
	}
	return all[0], nil
}

// fileTarget is an image by its path. The word of the guest that has it as a disk counts before its header's.
func fileTarget(ctx context.Context, s *configs.Site, path, format string) (target, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return target{}, err
	}
	t := target{path: path, format: format, users: usersOf(s, path)}
	if t.format == "" && len(t.users) > 0 {
		g, err := s.Guest(t.users[0].guest)
		if err != nil {
			return target{}, err
		}
		t.format = g.Spec.Disks[t.users[0].disk].Format
	}
	if t.format == "" {
		if t.format, err = image.FormatOf(path); err != nil {
			return target{}, err
		}
		t.guessed = true
	}
	return t, nil
}

// usersOf gives the disks of guests that are the file at path, under whatever name.
func usersOf(s *configs.Site, path string) []diskOf {
	var users []diskOf
	st, err := os.Stat(path)
	for _, g := range s.Guests {
		for i, d := range g.Spec.Disks {
			other, oerr := os.Stat(d.Image)
			if d.Image == path || err == nil && oerr == nil && os.SameFile(st, other) {
				users = append(users, diskOf{g.Spec.Name, i})
			}
		}
	}
	return users
}

// nearGuest is the hint of an unknown guest where it names another guest: that one is asked for, not a new one.
func nearGuest(err error) string {
	var unknown *configs.UnknownGuestError
	if errors.As(err, &unknown) && unknown.Near != "" {
		return unknown.Hint()
	}
	return "kvmctl list"
}

// exclusively runs act while no guest can start with t, and refuses when one runs with it.
func (a *app) exclusively(ctx context.Context, h *vm.Host, t target, op string, act func() error) error {
	var guests []string
	for _, u := range t.users {
		guests = append(guests, u.guest)
	}
	err := lockAll(ctx, h, slices.Compact(guests), op, act) // sorted: two of us cannot wait for each other
	return a.inUse(ctx, h, imageError(err))
}

func lockAll(ctx context.Context, h *vm.Host, guests []string, op string, act func() error) error {
	if len(guests) == 0 {
		return act()
	}
	return h.WithLock(ctx, guests[0], op, func(running bool) error {
		if running {
			return cli.Refused("kvmctl stop "+guests[0], "%s runs with it", guests[0])
		}
		return lockAll(ctx, h, guests[1:], op, act)
	})
}

// imageError gives the errors of package image their exit codes.
func imageError(err error) error {
	var option *image.OptionError
	var exists *image.ExistsError
	var shrink *image.ShrinkError
	var locked *image.LockedError
	switch {
	case errors.As(err, &option):
		return cli.WithCode(err, cli.ExitUsage)
	case errors.As(err, &exists), errors.As(err, &shrink), errors.As(err, &locked):
		return cli.WithCode(err, cli.ExitRefused)
	}
	return err
}

// inUse says which guests or mounts hold an image, where image itself knows only pids.
func (a *app) inUse(ctx context.Context, h *vm.Host, err error) error {
	var locked *image.LockedError
	if !errors.As(err, &locked) || os.Geteuid() != 0 {
		return err
	}
	if m := a.mountOf(locked.Path); m != nil {
		return m
	}
	running, kerr := h.Known()
	if kerr != nil {
		return err
	}
	var names []string
	for _, st := range h.Status(ctx, running) {
		if slices.ContainsFunc(locked.Holders, func(p image.Holder) bool { return p.PID == st.PID }) {
			names = append(names, st.Name)
		}
	}
	if len(names) == 0 {
		return err
	}
	guests := strings.Join(names, " ")
	return cli.Refused("kvmctl stop "+guests, "%s: the running guest is %s", err, guests)
}

// completeImage completes a guest's name or a file's.
func (a *app) completeImage(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || strings.Contains(toComplete, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := a.completeGuests(cmd, args, toComplete)
	return names, cobra.ShellCompDirectiveDefault
}
