package hostcmd

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/netbridge"
)

func newNetShow(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [--json]",
		Short: "Show the bridges and whose ports they have",
		Long: `Show the declared bridges, whether they are there or not, those that kvmctl made and that are declared
no more, and foreign ones that guests use.

STATE is up, down, missing (made when a guest needs it, or by net apply) or blocked (another interface has its name).
MADE BY is kvmctl, or other for a bridge that is used as it is and never changed.`,
		Example: `  kvmctl net show
  kvmctl net show --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runNetShow(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// netRow is a bridge in `net show --json`.
type netRow struct {
	Name      string          `json:"name"`
	State     netbridge.State `json:"state"`
	Declared  bool            `json:"declared"`
	Ours      bool            `json:"made_by_kvmctl"`
	MAC       string          `json:"mac,omitempty"`
	MTU       int             `json:"mtu,omitempty"`
	Addresses []netip.Prefix  `json:"addresses"`
	Ports     []portRow       `json:"ports"`
	Pending   []string        `json:"pending"`             // what the next start will do
	Dangerous bool            `json:"dangerous,omitempty"` // the next start refuses it: net apply is for that
	Problem   string          `json:"problem,omitempty"`   // why it cannot be made as declared
}

// portRow is a port of a bridge in `net show --json`.
type portRow struct {
	Name  string `json:"name"`
	Guest string `json:"guest,omitempty"` // of a TAP of ours
	NIC   *int   `json:"nic,omitempty"`
	Up    bool   `json:"up"`
}

func (a *app) runNetShow(ctx context.Context, asJSON bool) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if problems := s.Problems.For(s.HostFile); len(problems) > 0 {
		return badConfig("show", "the networks", problems)
	}
	k, err := netbridge.NewKernel()
	if err != nil {
		return fmt.Errorf("cannot show the networks: %w", err)
	}
	defer k.Close()
	all, err := netbridge.Show(ctx, k, s.Host.Bridges)
	if err != nil {
		return fmt.Errorf("cannot show the networks: %w", err)
	}
	rows := make([]netRow, 0, len(all))
	var cells [][]string
	for _, st := range all {
		r := newNetRow(st)
		rows = append(rows, r)
		cells = append(cells, r.cells())
	}
	if asJSON {
		return a.env.JSON(rows)
	}
	if len(rows) == 0 {
		a.env.Talk("no bridges: kvm.toml declares none")
	}
	return cli.Table(a.env.Out, []string{"BRIDGE", "STATE", "MADE BY", "ADDRESS", "MTU", "PORTS", "NOTE"}, cells)
}

func newNetRow(st netbridge.Status) netRow {
	r := netRow{Name: st.Name, State: st.State, Declared: st.Declared != nil, Ours: st.Ours, MTU: st.Link.MTU,
		Addresses: []netip.Prefix{}, Ports: []portRow{}, Pending: []string{}}
	if st.Link.Name != "" {
		r.MAC = st.Link.MAC.String()
	}
	for _, p := range st.Link.Addresses {
		if !p.Addr().IsLinkLocalUnicast() {
			r.Addresses = append(r.Addresses, p)
		}
	}
	for _, p := range st.Ports {
		row := portRow{Name: p.Link.Name, Guest: p.Guest, Up: p.Link.Up}
		if p.Guest != "" {
			row.NIC = &p.NIC
		}
		r.Ports = append(r.Ports, row)
	}
	for _, step := range st.Pending {
		r.Pending = append(r.Pending, step.String())
		r.Dangerous = r.Dangerous || netbridge.Dangerous(step)
	}
	if st.Problem != nil && st.State != netbridge.Blocked {
		r.Problem = st.Problem.Error()
	}
	return r
}

func (r netRow) cells() []string {
	madeBy, mtu := "", ""
	switch {
	case r.Ours:
		madeBy = "kvmctl"
	case r.State == netbridge.Up, r.State == netbridge.Down:
		madeBy = "other"
	}
	if r.MTU > 0 {
		mtu = strconv.Itoa(r.MTU)
	}
	var addresses, ports []string
	for _, p := range r.Addresses {
		addresses = append(addresses, p.String())
	}
	for _, p := range r.Ports {
		ports = append(ports, p.String())
	}
	return []string{r.Name, r.State.String(), madeBy, strings.Join(addresses, ","), mtu, strings.Join(ports, ","), r.note()}
}

// String is the port as the table has it: the guest's network card, or the interface's own name.
func (p portRow) String() string {
	if p.NIC == nil {
		return p.Name
	}
	return p.Guest + ":" + strconv.Itoa(*p.NIC)
}

func (r netRow) note() string {
	switch {
	case r.State == netbridge.Blocked:
		return "another interface has this name: ip -d link show " + r.Name
	case r.Problem != "":
		return r.Problem
	case r.Dangerous:
		return "to be made by: kvmctl net apply"
	case r.State == netbridge.Missing:
		return "made when a guest needs it"
	case !r.Declared:
		return "not declared in kvm.toml"
	case len(r.Pending) > 0:
		return "at the next start: " + strings.Join(r.Pending, ", ")
	case !r.Ours:
		return "used as it is"
	}
	return ""
}
