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
		Use:   "list [--json]",
		Short: "List the configured guests",
		Long: `List the configured guests with what their files say. What they do at the moment is told by status.
Of a guest whose file has mistakes nothing is shown: what could not be read would be a default.`,
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
	Memory      int64    `json:"memory_bytes,omitempty"`
	CPUs        int      `json:"cpus,omitempty"`
	VNC         string   `json:"vnc,omitempty"` // auto, none, socket or a display number
	Disks       []string `json:"disks"`
	Bridges     []string `json:"bridges"`
	Autostart   bool     `json:"autostart"`
	Order       int      `json:"order"`
	After       []string `json:"after,omitempty"`
	Custom      bool     `json:"custom,omitempty"`
	Broken      bool     `json:"broken,omitempty"`
	unread      bool     // its own file has mistakes: the rest would be defaults that nobody wrote
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
		if g.Broken {
			r = listRow{Name: r.Name, Disks: []string{}, Bridges: []string{}, unread: true}
		}
		r.Broken = len(s.ProblemsOf(r.Name)) > 0
		rows = append(rows, r)
		cells = append(cells, r.cells())
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

// cells is the guest in the table. Of a file with mistakes nothing is shown.
func (r listRow) cells() []string {
	if r.unread {
		return []string{r.Name, "", "", "", "", "", "", "", r.remark()}
	}
	return []string{r.Name, yes(r.Autostart), strconv.Itoa(r.Order), units.Size(r.Memory).String(), strconv.Itoa(r.CPUs), r.VNC,
		strconv.Itoa(len(r.Disks)), strings.Join(r.Bridges, ","), r.remark()}
}

// sizeOrNone is an empty cell where nothing is known.
func sizeOrNone(s units.Size) string {
	if s == 0 {
		return ""
	}
	return s.String()
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
