package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type showOptions struct {
	name             string
	argv, toml, json bool
}

func newShow(a *app) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:   "show <vm> [--argv|--toml|--json]",
		Short: "Show all about one guest",
		Long: `Show what a guest's file says with every default filled in, what was pinned at its first start
(its UUID, MAC addresses, machine version, PCI slots) and where its things are.

--argv prints QEMU's command line: that of the running guest, else that of the next start.
--toml prints vm.toml as it is; --json everything.`,
		Example: `  kvmctl show vm-olorin
  kvmctl show vm-olorin --argv`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.name = names[0]
			return a.runShow(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.argv, "argv", false, "print QEMU's command line")
	cmd.Flags().BoolVar(&o.toml, "toml", false, "print vm.toml")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("argv", "toml", "json")
	return cmd
}

func (a *app) runShow(ctx context.Context, o showOptions) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if o.toml {
		if _, err := s.Guest(o.name); err != nil {
			return usable("show", o.name, err)
		}
		text, err := os.ReadFile(a.layout().GuestToml(o.name))
		if err != nil {
			return fmt.Errorf("cannot show %s: %w", o.name, err)
		}
		a.env.Print("%s", text)
		return nil
	}
	g, err := a.guest(s, o.name, "show")
	if err != nil {
		return err
	}
	h := a.host(s, "show")
	if o.argv {
		argv, err := a.argvOf(ctx, h, &g.Spec)
		if err != nil {
			return fmt.Errorf("cannot show the command line of %s: %w", o.name, err)
		}
		printArgv(a.env.Out, argv)
		return nil
	}
	abi, err := vm.LoadABI(h.ABILock(o.name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot show %s: %w", o.name, err)
	}
	if o.json {
		return a.env.JSON(newGuestJSON(&g.Spec, abi, g.File))
	}
	return a.printGuest(&g.Spec, abi, g.File)
}

// argvOf gives the running guest's command line, or that of the next start.
func (a *app) argvOf(ctx context.Context, h *vm.Host, spec *vm.Spec) ([]string, error) {
	if st := h.Status(ctx, []string{spec.Name})[0]; st.PID > 0 {
		if argv, err := h.StartedArgv(spec.Name); err == nil {
			return argv, nil
		}
	}
	p, err := h.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	return p.Argv, nil
}

func (a *app) printGuest(s *vm.Spec, abi *vm.ABI, file string) error {
	row := func(key, format string, v ...any) {
		a.env.Print("%-14s%s\n", key, cli.Printable(fmt.Sprintf(format, v...)))
	}
	row("name", "%s", s.Name)
	if s.Description != "" {
		row("description", "%s", strings.ReplaceAll(s.Description, "\n", " "))
	}
	row("file", "%s", file)
	memory, cpus := abi.Room(s)
	row("memory", "%v, up to %v while it runs", s.Memory, memory)
	row("cpus", "%d, up to %d while it runs", s.CPUs, cpus)
	row("machine", "%s, %s, accel %s", s.Machine, s.Firmware, s.Accel)
	if s.Kernel != "" {
		row("kernel", "%s", s.Kernel)
		row("initrd", "%s", s.Initrd)
		row("cmdline", "%s", s.Cmdline)
	}
	row("autostart", "%s, order %d, after %s", yes(s.Autostart), s.Order, orNone(strings.Join(s.After, " ")))
	if !s.Ready.IsZero() {
		row("ready", "%s, within %v", s.Ready, s.Ready.Timeout)
	}
	row("stop_timeout", "%v", s.StopTimeout)
	row("vnc", "%s", a.vncWords(s))
	for i, d := range s.Disks {
		row(fmt.Sprintf("disk %d", i), "%s (%s, %s, cache %s%s)", d.Image, d.Format, d.Bus, d.Cache, onlyIf(d.ReadOnly, ", read only"))
	}
	for i, c := range s.CDROMs {
		row(fmt.Sprintf("cdrom %d", i), "%s", orNone(c.Image))
	}
	for i, n := range s.NICs {
		mac := n.MAC.String()
		if n.MAC.IsZero() {
			mac = "from its first start on"
			if abi != nil && i < len(abi.NICs) {
				mac = abi.NICs[i].MAC.String()
			}
		}
		row(fmt.Sprintf("nic %d", i), "%s on %s, %d queues, MAC %s%s", n.Model, n.Bridge, n.Queues, mac, limits(n))
	}
	if words := limitWords(s.Limits); words != "" {
		row("limits", "%s", words)
	}
	if abi != nil {
		row("uuid", "%s", abi.UUID)
		row("pinned", "%s, uid number %d", abi.Machine, abi.UID)
	}
	if s.Custom() {
		row("custom", "qemu_args %s", vm.CommandLine(s.QEMUArgs))
	}
	return nil
}

// limits says what a NIC may and may not, as far as it is not the usual.
func limits(n vm.NIC) string {
	var b strings.Builder
	b.WriteString(onlyIf(n.VHost != vm.VHostAuto, fmt.Sprintf(", vhost %s", n.VHost)))
	b.WriteString(onlyIf(n.VLAN != 0, fmt.Sprintf(", VLAN %d", n.VLAN)))
	b.WriteString(onlyIf(len(n.Trunk) > 0, fmt.Sprintf(", trunk %s", n.Trunk)))
	b.WriteString(onlyIf(n.Spoof, ", may spoof"))
	b.WriteString(onlyIf(len(n.CARP) > 0, fmt.Sprintf(", carp %s", strings.Trim(fmt.Sprint(n.CARP), "[]"))))
	b.WriteString(onlyIf(n.Rate > 0, fmt.Sprintf(", rate %s", n.Rate)))
	return b.String()
}

// vncWords says how a guest's screen is reached.
func (a *app) vncWords(s *vm.Spec) string {
	v := s.VNC
	var where string
	switch last, ok := a.layout().LastDisplay(s.Name); {
	case !v.Enabled:
		return "none"
	case v.Socket:
		where = "a unix socket"
	case v.Auto && ok:
		where = fmt.Sprintf("display auto (the last was :%d) on %v", last, v.Listen)
	case v.Auto:
		where = fmt.Sprintf("display auto on %v", v.Listen)
	default:
		where = fmt.Sprintf("display :%d on %v", v.Display, v.Listen)
	}
	if v.TLS != "" {
		where += ", TLS with " + v.TLS
	}
	if v.PasswordFile != "" {
		return where + ", password in " + v.PasswordFile
	}
	return where + ", no password"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func onlyIf(b bool, s string) string {
	if b {
		return s
	}
	return ""
}
