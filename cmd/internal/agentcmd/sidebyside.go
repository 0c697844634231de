package agentcmd

import (
	"bytes"
	"fmt"
	"slices"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha"
)

// oldView is when a view of another node is marked as old, in seconds: it is asked each second.
const oldView = 3

// writeNodes writes, below the table of this node, each group's role on every node, how old each view is, and what is wrong there; only these groups, or all.
func (a *app) writeNodes(w *bytes.Buffer, s *ha.Status, only []string) error {
	if len(s.Peers) == 0 {
		return nil
	}
	header := []string{"GROUP", cli.Printable(s.Node) + " (here)"}
	var names []string
	roles := map[string]map[int]string{} // by group, and column
	note := func(column int, group, role, reason, old string) {
		if roles[group] == nil {
			roles[group] = map[int]string{}
			names = append(names, group)
		}
		if reason != "" {
			role += " (" + reason + ")"
		}
		roles[group][column] = role + old
	}
	for _, g := range s.Groups {
		note(1, g.Name, g.Role, g.Reason, "")
	}
	for _, p := range s.Peers {
		column := len(header)
		switch {
		case p.Report == nil && p.Role == "arbiter":
			continue
		case p.Report == nil:
			header = append(header, cli.Printable(p.Name)+" (never seen)")
			continue
		}
		old := ""
		if *p.Seen > oldView {
			old = "?"
		}
		header = append(header, fmt.Sprintf("%s (%s ago)", cli.Printable(p.Name), age(*p.Seen)))
		for _, g := range p.Report.Groups {
			if len(only) == 0 || slices.Contains(only, g.Name) {
				note(column, g.Name, g.Role, g.Reason, old)
			}
		}
	}
	var rows [][]string
	for _, name := range names {
		row := []string{name}
		for i := 1; i < len(header); i++ {
			role, ok := roles[name][i]
			if !ok {
				role = "-"
			}
			row = append(row, role)
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(w)
	if err := cli.Table(w, header, rows); err != nil {
		return err
	}
	for _, p := range s.Peers {
		if p.Report != nil {
			writeReport(w, p, only)
		}
		if !p.Paired {
			fmt.Fprintf(w, "%s: not paired: %s\n", cli.Printable(p.Name), a.env.Again("kvmha pair"))
		}
	}
	return nil
}

// writeReport writes what another node says is wrong there.
func writeReport(w *bytes.Buffer, p ha.PeerStatus, only []string) {
	for _, g := range p.Report.Groups {
		if len(only) > 0 && !slices.Contains(only, g.Name) {
			continue
		}
		for _, c := range g.Checks {
			if c.State == "red" {
				fmt.Fprintf(w, "%s: %s: check %s is red: %s\n", cli.Printable(p.Name), cli.Printable(g.Name), cli.Printable(c.Name), cli.Printable(c.Reason))
			}
		}
		if g.Missing != "" && g.Role != "active" {
			fmt.Fprintf(w, "%s: %s: waits for: %s\n", cli.Printable(p.Name), cli.Printable(g.Name), cli.Printable(g.Missing))
		}
	}
	if p.Report.More > 0 {
		fmt.Fprintf(w, "%s: %s more did not fit in its report\n", cli.Printable(p.Name), count(p.Report.More, "group"))
	}
}
