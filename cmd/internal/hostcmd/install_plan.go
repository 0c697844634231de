package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/atomicfile"
	"kvmctl/vm"
	"kvmctl/vm/seed"
)

// maxSeedFile bounds what is read of each file of a seed, in bytes; package seed has its own, smaller bound.
const maxSeedFile = 4 << 20

// seed reads what the seed is made of; nil: there is to be none.
func (o *installOptions) seed() (*seed.Seed, error) {
	if o.userData == "" {
		return nil, nil
	}
	s := &seed.Seed{}
	for _, part := range []struct {
		flag, path string
		to         *[]byte
	}{{"--cloud-init", o.userData, &s.UserData}, {"--network-config", o.network, &s.NetworkConfig}, {"--meta-data", o.metaData, &s.MetaData}} {
		if part.path == "" {
			continue
		}
		var err error
		if *part.to, err = readSome(part.path); err != nil {
			return nil, cli.Usage("", "%s: %w", part.flag, err)
		}
	}
	if len(s.MetaData) == 0 {
		s.MetaData = seed.DefaultMetaData(o.create.name, s)
	}
	if err := s.Check(); err != nil {
		return nil, cli.Usage(cli.Hint(err), "--cloud-init %s: %w", o.userData, err)
	}
	return s, nil
}

func readSome(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // never wait for a FIFO's writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSeedFile))
}

// installable makes sure that there is a guest to install, and gives the site with it.
func (a *app) installable(ctx context.Context, s *configs.Site, o installOptions) (*configs.Site, error) {
	_, err := s.Guest(o.create.name)
	var unknown *configs.UnknownGuestError
	switch {
	case err == nil && o.shape:
		return nil, cli.Usage("kvmctl install "+o.create.name+" without them",
			"cannot install %s: it exists, and --memory, --cpus, --disk, --bridge and --vnc are for a new guest", o.create.name)
	case err == nil:
		return s, nil
	case !errors.As(err, &unknown):
		return nil, usable("install", o.create.name, err)
	case unknown.Near != "" && !o.shape:
		return nil, cli.Usage("did you mean "+unknown.Near+"? For a new guest: kvmctl create "+o.create.name, "cannot install %s: %w", o.create.name, err)
	}
	o.create.preallocation = "off"
	if err := a.runCreate(ctx, o.create); err != nil {
		return nil, err
	}
	return a.site(ctx)
}

// checkTarget refuses a guest that cannot be installed, or that has something to lose. What a killed start left of one is cleared away first:
// its QEMU would hold the disks.
func (a *app) checkTarget(ctx context.Context, h *vm.Host, g *configs.Guest, o installOptions) error {
	return h.WithLock(ctx, g.Spec.Name, "install", func(running bool) error {
		if running {
			return cli.Refused("kvmctl stop "+g.Spec.Name, "it runs (pid %d)", h.Status(ctx, []string{g.Spec.Name})[0].PID)
		}
		if err := h.CheckHold(g.Spec.Name); err != nil {
			return err
		}
		return a.checkDisks(ctx, g, o)
	})
}

// checkDisks refuses a guest without a disk to install on, and one whose disks hold something.
func (a *app) checkDisks(ctx context.Context, g *configs.Guest, o installOptions) error {
	name := g.Spec.Name
	if o.iso == "" {
		return nil
	}
	if g.Spec.Kernel != "" {
		return cli.Refused("take kernel out of "+g.File, "it boots a kernel of its own, so no CD")
	}
	if len(g.Spec.Disks) == 0 {
		return cli.Refused("kvmctl image create, and a [[disk]] in "+g.File, "it has no disk to install on")
	}
	if o.yes {
		return nil
	}
	for _, d := range g.Spec.Disks {
		if d.ReadOnly {
			continue
		}
		blank, err := imageTool().Blank(ctx, d.Image, d.Format)
		if err != nil {
			return imageError(err)
		}
		if !blank {
			return cli.Refused("kvmctl install "+name+" --iso "+o.iso+" --yes", "its disk %s holds data, which an installation may destroy", d.Image)
		}
	}
	return nil
}

// seedFile is where a guest's seed is.
func seedFile(l vm.Layout, name string) string { return filepath.Join(l.GuestLibDir(name), "seed.iso") }

// addSeed writes the seed and names it in vm.toml, unless it is named there already.
func (a *app) addSeed(ctx context.Context, s *configs.Site, h *vm.Host, g *configs.Guest, sd *seed.Seed) (*configs.Site, error) {
	name, path := g.Spec.Name, seedFile(a.layout(), g.Spec.Name)
	err := h.WithLock(ctx, name, "install", func(running bool) error {
		if running {
			return cli.Refused("kvmctl stop "+name, "it runs")
		}
		if err := vm.MakeDirs(filepath.Dir(path), 0o711); err != nil {
			return err
		}
		if err := seed.Write(path, sd); err != nil {
			return err
		}
		a.step("seed made")
		if slices.ContainsFunc(g.Spec.CDROMs, func(c vm.CDROM) bool { return c.Image == path }) {
			return nil
		}
		text, err := os.ReadFile(g.File)
		if err != nil {
			return err
		}
		// A table of an array may stand at the end of any file.
		text = fmt.Appendf(text, "\n# What the guest is told by `kvmctl install --cloud-init`.\n[[cdrom]]\nimage = %q\n", filepath.Base(path))
		problems, err := s.Judge(ctx, name, text)
		if err != nil {
			return err
		}
		if len(problems) > 0 {
			return cli.Usage(problems[0].Hint(), "add the seed to %s: %s", g.File, problems[0].Msg)
		}
		if err := atomicfile.Write(g.File, text, 0o644); err != nil {
			return err
		}
		a.step("seed named")
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.env.Talk("%s: seed %s", name, path)
	return a.site(ctx)
}
