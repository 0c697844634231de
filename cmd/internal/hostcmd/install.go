package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

type installOptions struct {
	create   createOptions
	shape    bool   // a flag that only means something for a new guest was given
	iso      string // absolute
	userData string
	metaData string
	network  string
	yes      bool
	noWait   bool
	timeout  time.Duration
}

func newInstall(a *app) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use:   "install <vm> [--iso FILE] [--cloud-init FILE]",
		Short: "Install a guest from a CD, or tell a cloud image who it is",
		Long: `Install a guest. One that does not exist yet is created first: --memory, --cpus, --disk, --bridge and --vnc
are those of create.

--iso boots a CD once, before the disk; every boot after that is from the disk, even if kvmctl has long
gone. The installation is watched on the guest's screen or console: kvmctl says where. It waits until
the guest reboots or ends and then takes the CD out; ^C, --no-wait or a lost connection leave the
installation running, and kvmctl install <vm> says how far it is and waits on. A disk that holds data
is refused unless --yes is given.

--cloud-init makes a seed of user-data, and of --meta-data and --network-config if given, and puts it as a
CD of its own into vm.toml: cloud-init and FreeBSD's nuageinit find it by its label, cidata. It is
root's alone, for it holds passwords. Without --iso the guest is started from its disk, which has to
hold a cloud image.`,
		Example: `  kvmctl install vm-olorin --iso debian.iso
  kvmctl install vm-olorin
  kvmctl install vm-varda --cloud-init user-data --network-config net.yaml
  kvmctl install vm-varda --iso ubuntu.iso --cloud-init autoinstall.yaml --memory 4G --disk 40G --no-wait`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.create.name = names[0]
			for _, flag := range shapeFlags {
				o.shape = o.shape || cmd.Flags().Changed(flag)
			}
			return a.runInstall(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.iso, "iso", "", "boot this CD once, before the disk")
	f.StringVar(&o.userData, "cloud-init", "", "user-data for the guest's seed; its first line is #cloud-config")
	f.StringVar(&o.metaData, "meta-data", "", "meta-data of the seed, instead of an instance-id and the guest's name")
	f.StringVar(&o.network, "network-config", "", "network-config of the seed")
	f.BoolVarP(&o.yes, "yes", "y", false, "install on a disk that holds data")
	f.BoolVar(&o.noWait, "no-wait", false, "return when the CD is booted")
	f.DurationVar(&o.timeout, "timeout", 6*time.Hour, "wait at most so long for the installation; it goes on after that")
	f.StringVar(&o.create.memory, "memory", "512M", "memory of a new guest")
	f.IntVar(&o.create.cpus, "cpus", 1, "virtual CPUs of a new guest")
	f.StringVar(&o.create.disk, "disk", "8G", "size of a new guest's disk")
	f.StringVar(&o.create.bridge, "bridge", "", "the bridge of a new guest's network card, or none")
	f.StringVar(&o.create.vnc, "vnc", "auto", "VNC display of a new guest: auto, a number, or none")
	return cmd
}

// shapeFlags say what a new guest is to be.
var shapeFlags = []string{"memory", "cpus", "disk", "bridge", "vnc"}

func (a *app) runInstall(ctx context.Context, o installOptions) error {
	name := o.create.name
	failed := func(err error) error { return permission(fmt.Errorf("cannot install %s: %w", name, err)) }
	if err := a.needRoot("install a guest"); err != nil {
		return err
	}
	if o.userData == "" && (o.metaData != "" || o.network != "") {
		return cli.Usage("add --cloud-init user-data", "cannot install %s: --meta-data and --network-config belong to --cloud-init", name)
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if o.iso == "" && o.userData == "" {
		return a.watchInstall(ctx, s, o)
	}
	if err := o.checkISO(); err != nil {
		return failed(err)
	}
	sd, err := o.seed()
	if err != nil {
		return failed(err)
	}
	if s, err = a.installable(ctx, s, o); err != nil {
		return err
	}
	g, err := a.guest(s, name, "install")
	if err != nil {
		return err
	}
	h := a.host(s, "install")
	if err := a.checkTarget(ctx, h, g, o); err != nil {
		return failed(err)
	}
	if sd != nil {
		if s, err = a.addSeed(ctx, s, h, g, sd); err != nil {
			return failed(err)
		}
		if g, err = a.guest(s, name, "install"); err != nil {
			return err
		}
	}
	started, err := h.StartFrom(ctx, &g.Spec, vm.Origin{CD: o.iso})
	switch {
	case err != nil:
		return failed(err)
	case started.Already:
		return cli.Refused("kvmctl stop "+name, "cannot install %s: it runs (pid %d)", name, started.PID)
	}
	a.sayStarted(name, started)
	if o.iso == "" {
		return nil
	}
	a.env.Talk("%s installs from %s; watch it: kvmctl console %s%s", name, o.iso, name, vncWay(name, started))
	if o.noWait {
		return nil
	}
	return a.awaitInstall(ctx, h, o)
}

func vncWay(name string, st *vm.Started) string {
	if st.State.VNC == "" {
		return ""
	}
	return ", or kvmctl vnc " + name
}

// checkISO makes the CD's path absolute and makes sure that there is one.
func (o *installOptions) checkISO() error {
	if o.iso == "" {
		return nil
	}
	abs, err := filepath.Abs(o.iso)
	if err != nil {
		return err
	}
	st, err := os.Stat(abs)
	if err != nil {
		return cli.Usage("", "--iso: %w", err)
	}
	if !st.Mode().IsRegular() && st.Mode()&os.ModeDevice == 0 {
		return cli.Usage("", "--iso: %s is not a file", abs)
	}
	o.iso = abs
	return nil
}

// watchInstall says how far an installation is and waits for its end.
func (a *app) watchInstall(ctx context.Context, s *configs.Site, o installOptions) error {
	name := o.create.name
	if err := a.known(s, name, "install"); err != nil {
		return err
	}
	h := a.host(s, "install")
	in := h.Install(ctx, name)
	if in.Stage == vm.InstallNone {
		return cli.Usage("kvmctl install "+name+" --iso FILE", "cannot install %s: no --iso and no --cloud-init, and no installation is under way", name)
	}
	if in.Stage == vm.InstallRuns && o.noWait {
		a.env.Talk("%s installs from %s since %s", name, in.CD, cli.Age(time.Since(in.Since)))
		return nil
	}
	if in.Stage == vm.InstallRuns {
		a.env.Talk("%s installs from %s since %s; watch it: kvmctl console %s", name, in.CD, cli.Age(time.Since(in.Since)), name)
		return a.awaitInstall(ctx, h, o)
	}
	if in.Stage == vm.InstallBooted {
		if err := h.EjectCD(ctx, name); err != nil && !errors.Is(err, vm.ErrNotRunning) {
			return fmt.Errorf("cannot take the CD out of %s: %w", name, err)
		}
	}
	return a.sayInstalled(name, in)
}

func (a *app) awaitInstall(ctx context.Context, h *vm.Host, o installOptions) error {
	name := o.create.name
	wait, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	in, err := h.AwaitInstall(wait, name)
	switch {
	case ctx.Err() != nil:
		a.env.Talk("%s installs on; kvmctl install %s says how far it is", name, name)
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return cli.InVain("kvmctl install "+name, "%s still installs after %v; it goes on", name, o.timeout)
	case err != nil:
		return fmt.Errorf("cannot see the end of the installation of %s: %w", name, err)
	}
	return a.sayInstalled(name, in)
}

func (a *app) sayInstalled(name string, in vm.Installation) error {
	switch in.Stage {
	case vm.InstallBooted:
		a.env.Talk("%s was reset and boots from its disk; the CD is out", name)
	case vm.InstallEnded:
		a.env.Talk("%s ended its installation (%s); to boot its disk: kvmctl start %s", name, in.Reason, name)
	default:
		return cli.Failed("kvmctl install "+name+" --iso "+in.CD+" --yes", "the installation of %s was cut short: %s", name, in.Reason)
	}
	return nil
}
