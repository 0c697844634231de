package hostcmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/units"
	"kvmctl/vm"
)

func newList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list [--json]",
		Short:   "List the configured guests",
		Long:    "List the configured guests with what their files say. What they do at the moment is told by status.",
		Example: "  kvmctl list",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runList(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listRow is a guest in `list --json`.
type listRow struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Memory      int64    `json:"memory_bytes"`
	CPUs        int      `json:"cpus"`
	VNC         string   `json:"vnc"` // auto, none, socket or a display number
	Disks       []string `json:"disks"`
	Bridges     []string `json:"bridges"`
	Autostart   bool     `json:"autostart"`
	Order       int      `json:"order"`
	After       []string `json:"after,omitempty"`
	Custom      bool     `json:"custom,omitempty"`
	Broken      bool     `json:"broken,omitempty"`
}

func (a *app) runList(ctx context.Context, asJSON bool) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	rows := make([]listRow, 0, len(s.Guests))
	var cells [][]string
	for _, g := range s.Guests {
		r := newListRow(&g.Spec)
		r.Broken = len(s.ProblemsOf(r.Name)) > 0
		rows = append(rows, r)
		cells = append(cells, []string{r.Name, yes(r.Autostart), strconv.Itoa(r.Order), units.Size(r.Memory).String(), strconv.Itoa(r.CPUs),
			r.VNC, strconv.Itoa(len(r.Disks)), strings.Join(r.Bridges, ","), r.remark()})
	}
	if asJSON {
		return a.env.JSON(rows)
	}
	return cli.Table(a.env.Out, []string{"NAME", "AUTOSTART", "ORDER", "MEMORY", "CPUS", "VNC", "DISKS", "BRIDGES", "DESCRIPTION"}, cells)
}

func newListRow(s *vm.Spec) listRow {
	r := listRow{Name: s.Name, Description: s.Description, Memory: int64(s.Memory), CPUs: s.CPUs, Autostart: s.Autostart, Order: s.Order,
		After: s.After, VNC: newVNCJSON(s.VNC).Display, Custom: s.Custom(), Disks: []string{}, Bridges: []string{}}
	for _, d := range s.Disks {
		r.Disks = append(r.Disks, d.Image)
	}
	for _, n := range s.NICs {
		r.Bridges = append(r.Bridges, n.Bridge)
	}
	return r
}

func (r listRow) remark() string {
	d, _, _ := strings.Cut(r.Description, "\n")
	if r.Broken {
		return fmt.Sprintf("(its configuration is broken: kvmctl check %s) %s", r.Name, d)
	}
	return d
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
