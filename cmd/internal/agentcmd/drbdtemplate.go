package agentcmd

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/drbd/lint"
)

// drbdPort is the port of minor 0 where none is given, as in DRBD's own examples; each minor has the next.
const drbdPort = 7788

type drbdTemplateOptions struct {
	name     string
	on       []string
	device   string
	disks    []string
	metaDisk string
	version  string
}

func newDRBDTemplate(a *app) *cobra.Command {
	o := &drbdTemplateOptions{}
	cmd := &cobra.Command{
		Use:   "template <resource> --on <name>=<address>[:<port>] --on … --device /dev/drbd<n> --disk <disk>",
		Short: "Write a good DRBD resource for two nodes",
		Long: `Write a resource for two nodes to stdout, for /etc/drbd.d/<resource>.res of both: protocol C, frozen writes and kvmha
as the handler where the peer is lost, no policy that discards what somebody wrote, a new shared secret, a resync
that leaves room for the service. "kvmha drbd lint" finds nothing in it, and drbdadm takes it.

The names are those of uname -n. The port is 7788 + n without one. A second --disk is the second node's. --drbd is
the version of the kernel module: 8.4, which every Linux brings along, or 9; without it that of the loaded one.
The secret is another one with each call: write the file once, after "umask 077", and copy it to the other node.
What comes next: "kvmha drbd init", on both.`,
		Example: `  kvmha drbd template admin --on varda2=10.4.0.102 --on vm-varda=10.4.0.202 --device /dev/drbd0 --disk /dev/vg/admin --disk /dev/vdb
  kvmha drbd template admin --on varda2=[fd00::1]:7789 --on vm-varda=[fd00::2]:7789 --device /dev/drbd1 --disk /dev/vg/admin --drbd 9`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, words []string) error {
			o.name = words[0]
			return a.runDRBDTemplate(o)
		},
	}
	cmd.Flags().StringArrayVar(&o.on, "on", nil, "a node, as `NAME=ADDRESS[:PORT]`; twice")
	cmd.Flags().StringVar(&o.device, "device", "/dev/drbd0", "the `DEVICE` that is mounted")
	cmd.Flags().StringArrayVar(&o.disks, "disk", nil, "the `DISK` below it")
	cmd.Flags().StringVar(&o.metaDisk, "meta-disk", "internal", "where DRBD's own records are: \"internal\" or a `DISK`")
	cmd.Flags().StringVar(&o.version, "drbd", "", "for DRBD `VERSION` 8.4 or 9")
	return cmd
}

func (a *app) runDRBDTemplate(o *drbdTemplateOptions) error {
	r, err := o.resource()
	if err != nil {
		return err
	}
	if o.version == "" {
		facts, _ := lint.Gather(a.root, "") // only the module counts; where none is loaded it is the one of every kernel
		r.Nine = facts.DRBD >= 9
	}
	r.Secret = rand.Text()
	text, err := lint.Template(r)
	if err != nil {
		return cli.Usage("kvmha drbd template --help", "cannot %w", err)
	}
	a.env.Print("%s", text)
	a.env.Talk("it holds a new secret: copy this very file to the other node, as /etc/drbd.d/%s.res with mode 0600 on both, then: kvmha drbd lint", r.Name)
	return nil
}

// resource reads the flags.
func (o *drbdTemplateOptions) resource() (r lint.Resource, err error) {
	wrong := func(format string, args ...any) (lint.Resource, error) {
		return lint.Resource{}, cli.Usage("kvmha drbd template --help", "cannot write a resource: "+format, args...)
	}
	r = lint.Resource{Name: o.name, MetaDisk: o.metaDisk, Nine: o.version == "9"}
	number, ok := strings.CutPrefix(o.device, "/dev/drbd")
	minor, bad := strconv.ParseUint(number, 10, 20)
	switch {
	case !ok || bad != nil:
		return wrong("--device is /dev/drbd and a number")
	case len(o.on) != 2:
		return wrong("--on is wanted twice, and is there %s", count(len(o.on), "time"))
	case len(o.disks) == 0 || len(o.disks) > 2:
		return wrong("--disk is wanted once or twice, and is there %s", count(len(o.disks), "time"))
	case o.version != "" && o.version != "8.4" && o.version != "9":
		return wrong("--drbd is 8.4 or 9")
	}
	r.Minor = int(minor)
	for i, on := range o.on {
		name, address, ok := strings.Cut(on, "=")
		at, bad := nodeAddress(address, drbdPort+r.Minor)
		if !ok || bad != nil {
			return wrong("--on %s is not <name>=<address>[:<port>]", on)
		}
		r.Nodes[i] = lint.Node{Name: name, Address: at, Disk: o.disks[min(i, len(o.disks)-1)]}
	}
	return r, nil
}

// nodeAddress reads an address, in brackets or not, with a port or not.
func nodeAddress(text string, port int) (netip.AddrPort, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at, nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err == nil && port > 65535 {
		err = fmt.Errorf("port %d", port)
	}
	return netip.AddrPortFrom(ip, uint16(port)), err
}
