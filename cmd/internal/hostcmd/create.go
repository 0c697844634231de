package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/atomicfile"
	"kvmctl/internal/units"
	"kvmctl/vm"
	"kvmctl/vm/image"
)

type createOptions struct {
	name          string
	memory        string
	cpus          int
	disk          string
	preallocation string
	bridge        string
	kernel        string
	initrd        string
	cmdline       string
	autostart     bool
	vnc           string
	start         bool
}

func newCreate(a *app) *cobra.Command {
	o := createOptions{}
	cmd := &cobra.Command{
		Use:   "create <vm>",
		Short: "Make a guest: its disk image and its vm.toml",
		Long: `Make a guest in one go: a qcow2 image below /var/lib/kvm/<vm>/ and /etc/kvm/<vm>/vm.toml.

Without --bridge the guest gets a network card on the only bridge that kvm.toml declares; with
none or several declared it gets none unless one is named. Nothing is ever overwritten.`,
		Example: `  kvmctl create vm-olorin
  kvmctl create vm-varda --memory 1G --cpus 2 --disk 20G --bridge br0 --autostart
  kvmctl create vm-try --disk none --kernel /boot/vmlinuz --initrd /boot/initrd.img --append console=ttyS0 --start`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			o.name = names[0]
			return a.runCreate(cmd.Context(), o)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&o.memory, "memory", "512M", "memory")
	f.IntVar(&o.cpus, "cpus", 1, "virtual CPUs")
	f.StringVar(&o.disk, "disk", "8G", "size of the disk, or none")
	f.StringVar(&o.preallocation, "preallocation", "off", "off, metadata, falloc or full")
	f.StringVar(&o.bridge, "bridge", "", "the bridge of its network card, or none")
	f.StringVar(&o.kernel, "kernel", "", "boot this kernel directly")
	f.StringVar(&o.initrd, "initrd", "", "the initramfs of --kernel")
	f.StringVar(&o.cmdline, "append", "", "the command line of --kernel")
	f.BoolVar(&o.autostart, "autostart", false, "start it when kvmctl start is called without a name")
	f.StringVar(&o.vnc, "vnc", "auto", "VNC display: auto, a number, or none")
	f.BoolVar(&o.start, "start", false, "start it at once")
	_ = cmd.RegisterFlagCompletionFunc("preallocation", cobra.FixedCompletions([]string{"off", "metadata", "falloc", "full"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) runCreate(ctx context.Context, o createOptions) error {
	if err := a.needRoot("create a guest"); err != nil {
		return err
	}
	if err := configs.CheckName(o.name); err != nil {
		return usable("create", o.name, err)
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if problems := s.Problems.For(s.HostFile); len(problems) > 0 {
		return badConfig("create", o.name, problems)
	}
	spec, err := a.newSpec(s, o)
	if err != nil {
		return err
	}
	h := a.host(s, "create")
	err = h.WithLock(ctx, o.name, "create", func(bool) error { return a.create(ctx, s, spec, o) })
	if err != nil {
		return permission(fmt.Errorf("cannot create %s: %w", o.name, err))
	}
	a.env.Talk("%s created: %s", o.name, a.layout().GuestToml(o.name))
	for _, d := range spec.Disks {
		a.env.Talk("  disk %s, %v", d.Image, d.Size)
	}
	if len(spec.NICs) == 0 && o.bridge == "" {
		a.env.Talk("  no network card: kvm.toml declares %d bridges; name one with --bridge", len(s.Host.Bridges))
	}
	if !o.start {
		return nil
	}
	return a.runStart(ctx, startOptions{names: []string{o.name}})
}

// newSpec turns the flags into a guest; what they cannot mean is a usage error.
func (a *app) newSpec(s *configs.Site, o createOptions) (*vm.Spec, error) {
	refuse := func(err error) (*vm.Spec, error) {
		return nil, cli.Usage("kvmctl create --help", "cannot create %s: %w", o.name, err)
	}
	if _, err := units.ParseSize(o.memory); err != nil {
		return refuse(fmt.Errorf("--memory: %w", err))
	}
	// The defaults, and what follows from memory and cpus.
	spec, problems := configs.ParseGuest(a.layout().GuestToml(o.name), o.name, fmt.Appendf(nil, "memory = %q\ncpus = %d\n", o.memory, o.cpus), s.Host)
	if len(problems) > 0 {
		return refuse(errors.New(problems[0].Msg))
	}
	var err error
	spec.Autostart = o.autostart
	for flag, path := range map[string]*string{"--kernel": &o.kernel, "--initrd": &o.initrd} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return refuse(fmt.Errorf("%s: %w", flag, err))
		}
		if _, err := os.Stat(*path); err != nil {
			return refuse(fmt.Errorf("%s: %w", flag, err))
		}
	}
	spec.Kernel, spec.Initrd, spec.Cmdline = o.kernel, o.initrd, o.cmdline
	if spec.VNC, err = parseVNC(o.vnc, spec.VNC.Listen); err != nil {
		return refuse(err)
	}
	if o.disk != "none" && o.disk != "0" {
		size, err := units.ParseSize(o.disk)
		if err != nil {
			return refuse(fmt.Errorf("--disk: %w", err))
		}
		spec.Disks = []vm.Disk{{Image: filepath.Join(a.layout().GuestLibDir(o.name), "disk0.qcow2"), Size: size, Format: "qcow2",
			Bus: vm.BusVirtio, Cache: "writeback"}}
	}
	switch {
	case o.bridge == "none":
	case o.bridge != "":
		spec.NICs = []vm.NIC{{Bridge: o.bridge, Model: "virtio", Queues: 1}}
	case len(s.Host.Bridges) == 1:
		spec.NICs = []vm.NIC{{Bridge: s.Host.Bridges[0].Name, Model: "virtio", Queues: 1}}
	}
	return &spec, nil
}

func parseVNC(v string, listen netip.Addr) (vm.VNC, error) {
	switch v {
	case "none":
		return vm.VNC{Listen: listen}, nil
	case "auto":
		return vm.VNC{Enabled: true, Auto: true, Listen: listen}, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return vm.VNC{}, fmt.Errorf("--vnc: want auto, none or a display number, got %q", v)
	}
	return vm.VNC{Enabled: true, Display: n, Listen: listen}, nil
}

// create makes image and file, in this order: a guest exists from its vm.toml on. What fails is undone; what a killed run left behind is
// cleared away by the next.
func (a *app) create(ctx context.Context, s *configs.Site, spec *vm.Spec, o createOptions) (err error) {
	l := a.layout()
	if _, err := os.Lstat(l.GuestToml(o.name)); err == nil {
		return cli.Failed("kvmctl show "+o.name+"; another name makes another guest", "it exists already: %s", l.GuestToml(o.name))
	}
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	for dir, mode := range map[string]os.FileMode{l.GuestEtcDir(o.name): 0o755, l.GuestLibDir(o.name): 0o711} {
		if err := vm.MakeDirs(dir, mode); err != nil {
			return err
		}
		undo = append(undo, func() { _ = os.Remove(dir) }) // only if empty
	}
	if _, err := image.CleanTemp(l.GuestLibDir(o.name)); err != nil {
		return err
	}
	// The file is judged as a start would judge it, together with all others, before anything costly is made.
	text := configs.RenderGuest(*spec, s.Host)
	problems, err := s.Judge(ctx, o.name, text)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return cli.Usage(problems[0].Hint(), "%s", problems[0].Msg) // flags carry one mistake after the other
	}
	for _, d := range spec.Disks {
		made, err := a.createImage(ctx, d, o.preallocation)
		if err != nil {
			return err
		}
		if made {
			undo = append(undo, func() { _ = os.Remove(d.Image) })
		}
		a.step("disk made")
	}
	if err := atomicfile.Write(l.GuestToml(o.name), text, 0o644); err != nil {
		return err
	}
	a.step("vm.toml written")
	return nil
}

// createImage makes a disk. One that is there already, exactly as it would be made and never written to, is one that a killed run left, or
// as good: it is taken. Any other is somebody's.
func (a *app) createImage(ctx context.Context, d vm.Disk, preallocation string) (made bool, err error) {
	bar := a.progress("making " + filepath.Base(d.Image))
	defer bar.end()
	err = imageTool().Create(ctx, image.CreateOptions{Path: d.Image, Format: d.Format, Size: d.Size,
		Preallocation: image.Preallocation(preallocation)}, bar.set)
	if errors.Is(err, fs.ErrExist) && asMade(ctx, d) {
		a.env.Talk("%s is there already and empty: it is taken", d.Image)
		return false, nil
	}
	return err == nil, imageError(err)
}

// asMade tells of an image that it holds nothing and is what a disk's would be.
func asMade(ctx context.Context, d vm.Disk) bool {
	if st, err := os.Lstat(d.Image); err != nil || !st.Mode().IsRegular() {
		return false
	}
	info, err := imageTool().Info(ctx, d.Image, d.Format)
	if err != nil || info.VirtualSize != d.Size || info.Backing != "" || len(info.Snapshots) > 0 || info.Dirty || info.Corrupt {
		return false
	}
	blank, err := imageTool().Blank(ctx, d.Image, d.Format)
	return err == nil && blank
}
