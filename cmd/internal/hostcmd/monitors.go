package hostcmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type monitorsOptions struct{ json bool }

func newMonitors(a *app) *cobra.Command {
	var o monitorsOptions
	cmd := &cobra.Command{
		Use:   "monitors [--json]",
		Short: "List the monitors of the running guests, and who uses them",
		Long: `List the monitors of all running guests: the socket of each and who is on it, and who types
on the console.

A monitor serves one person at a time; kvmctl's own commands have another one and never wait for
it.`,
		Example: `  kvmctl monitors
  kvmctl monitors --json`,
		Args:              args(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.runMonitors(cmd.Context(), o) },
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// monitorRow is a guest in `monitors --json`.
type monitorRow struct {
	Name    string       `json:"name"`
	State   vm.StateWord `json:"state"`
	Monitor string       `json:"monitor"` // path of the socket
	InUseBy *vm.Sitter   `json:"in_use_by,omitempty"`
	Console *vm.Sitter   `json:"console_in_use_by,omitempty"` // who types there
}

func (a *app) runMonitors(ctx context.Context, o monitorsOptions) error {
	if err := a.needRoot("list the monitors"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	h := a.host(s, "monitors")
	names, err := h.Known()
	if err != nil {
		return fmt.Errorf("cannot list the running guests: %w", err)
	}
	rows := []monitorRow{}
	for _, st := range h.Status(ctx, names) {
		if st.PID == 0 {
			continue
		}
		r := monitorRow{Name: st.Name, State: st.State, Monitor: h.MonitorSocket(st.Name)}
		if who, ok := h.MonitorSitter(st.Name); ok {
			r.InUseBy = &who
		}
		if who, ok := h.ConsoleSitter(st.Name); ok {
			r.Console = &who
		}
		rows = append(rows, r)
	}
	if o.json {
		return a.env.JSON(rows)
	}
	return cli.Table(a.env.Out, []string{"NAME", "STATE", "MONITOR", "IN-USE-BY", "CONSOLE"}, monitorCells(rows))
}

func monitorCells(rows []monitorRow) [][]string {
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.Name, string(r.State), r.Monitor, sitterWord(r.InUseBy), sitterWord(r.Console)})
	}
	return cells
}

func sitterWord(s *vm.Sitter) string {
	if s == nil {
		return "-"
	}
	return s.String()
}
