package hostcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm/qmp"
)

type monitorOptions struct {
	name     string
	commands []string
	qmp      bool
	force    bool
}

func newMonitor(a *app) *cobra.Command {
	var o monitorOptions
	cmd := &cobra.Command{
		Use:   "monitor <vm> [-c <command>]... [--qmp] [--force]",
		Short: "Talk to a guest's QEMU on its monitor",
		Long: `Talk to a guest's QEMU on its monitor: the human monitor, with history and with completion by Tab.

exit, quit, q, detach, ^D and ^C leave the monitor, and the guest runs on. To end the guest, use
kvmctl stop; what is meant in earnest still works as ` + "`-c quit`" + `, a power cut for the guest.
One person uses the monitor at a time; who it is is told. --force takes it over, and the one who has to
leave is told by whom.

-c runs one command, prints its answer and returns; several run in turn, up to the first that
fails. It works while somebody is on the monitor. The human monitor has no error codes: a command
counts as failed when QEMU does not know it, does not understand its arguments, or answers
"Error: …".

--qmp speaks QMP in place of it: a JSON command a line in, a JSON answer or event a line out.
The connection is negotiated already. Without a terminal, commands are read from stdin.
Exit code 1: QEMU refused a command.`,
		Example: `  kvmctl monitor vm-olorin
  kvmctl monitor vm-olorin -c "info block" -c "info network"
  kvmctl monitor vm-olorin --qmp -c '{"execute":"query-status"}'`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			return a.runMonitor(cmd.Context(), o)
		},
	}
	cmd.Flags().StringArrayVarP(&o.commands, "command", "c", nil, "run this `command` and return")
	cmd.Flags().BoolVar(&o.force, "force", false, "take the monitor over from who uses it")
	cmd.Flags().BoolVar(&o.qmp, "qmp", false, "speak QMP, JSON by lines")
	return cmd
}

const useMonitor = "use the monitor of"

func (a *app) runMonitor(ctx context.Context, o monitorOptions) error {
	g, err := a.meet(ctx, o.name, "monitor", useMonitor)
	if err != nil {
		return err
	}
	if len(o.commands) > 0 {
		return a.monitorOnce(ctx, g, o)
	}
	m, err := g.host.PeopleMonitor(ctx, o.name, a.visitor(o.force))
	if err != nil {
		return unreachable(useMonitor, o.name, err)
	}
	defer m.Close()
	ctx, stop := untilTaken(ctx, m.Taken())
	defer stop()
	if o.qmp {
		err = a.talkQMP(ctx, g, m.Client)
	} else {
		err = a.talkHMP(ctx, g, m.Client)
	}
	if by := takenBy(ctx); by != nil {
		return cli.Failed("kvmctl monitor "+o.name+" --force", "cannot stay on the monitor of %s: %w", o.name, by)
	}
	return err
}

// monitorOnce runs commands on the tool's own monitor, one hold of it for each.
func (a *app) monitorOnce(ctx context.Context, g *seen, o monitorOptions) error {
	for _, line := range o.commands {
		if err := g.host.Finished(g.Name); err != nil {
			return unreachable(useMonitor, g.Name, err)
		}
		c, closeMonitor, err := g.host.Monitor(ctx, g.Name)
		if err != nil {
			return unreachable(useMonitor, g.Name, err)
		}
		if o.qmp {
			err = a.oneQMP(c, line)
		} else {
			err = a.oneHMP(ctx, g.Name, c, line)
		}
		closeMonitor()
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) oneHMP(ctx context.Context, name string, c *qmp.Client, line string) error {
	out, err := c.HMP(ctx, line)
	switch {
	case errors.Is(err, qmp.ErrClosed) && isQuit(line):
		return nil // it did what it was told
	case err != nil:
		return cli.Failed("kvmctl status "+name, "cannot run %q on the monitor of %s: %w", line, name, err)
	}
	if why := hmpError(out); why != "" {
		return cli.Failed(fmt.Sprintf("kvmctl monitor %s -c help", name), "cannot run %q on the monitor of %s: %s", line, name, why)
	}
	_, tty := a.env.OutTerminal()
	_, err = io.WriteString(a.env.Out, text(out, tty))
	return err
}

func (a *app) oneQMP(c *qmp.Client, line string) error {
	answer, refused := answerQMP(c, []byte(line))
	a.env.Print("%s\n", answer)
	if refused {
		return &cli.QuietError{ExitCode: cli.ExitFailed}
	}
	return nil
}

// isQuit tells the human monitor's command that ends QEMU.
func isQuit(line string) bool {
	word := strings.TrimSpace(line)
	return word == "q" || word == "quit"
}

// leaves tells what leaves our prompt. QEMU's quit does, too: on a prompt it means "out of here" more often than "cut the power".
func leaves(line string) bool {
	return slices.Contains([]string{"q", "quit", "exit", "detach"}, strings.TrimSpace(line))
}

// hmpError finds the error in an answer of the human monitor, which has no codes (monitor/hmp.c), as one line; "" when there is none.
func hmpError(out string) string {
	lines := strings.Split(strings.TrimSpace(text(out, true)), "\n")
	first, last := lines[0], lines[len(lines)-1]
	switch {
	case strings.HasPrefix(first, "unknown command:"), strings.HasPrefix(last, `Try "help `) && len(lines) > 1:
		return first
	case strings.HasPrefix(first, "Error: "):
		return strings.TrimPrefix(first, "Error: ")
	}
	return ""
}

// answerQMP runs one command given as a line of JSON and gives the line that answers it, with the command's id if it had one.
func answerQMP(c *qmp.Client, line []byte) (answer []byte, refused bool) {
	var in struct {
		Execute string          `json:"execute"`
		ID      json.RawMessage `json:"id"`
	}
	var out struct {
		Return json.RawMessage `json:"return,omitempty"`
		Error  *qmpError       `json:"error,omitempty"`
		ID     json.RawMessage `json:"id,omitempty"`
	}
	_ = json.Unmarshal(line, &in) // Run refuses what is none, in its words
	out.ID = in.ID
	if in.Execute == "qmp_capabilities" { // negotiated already; whoever is used to begin so may
		out.Return = json.RawMessage("{}")
	} else if raw, err := c.Monitor().Run(line); err == nil {
		err = json.Unmarshal(raw, &out)
		out.Error = wordQMP(err)
	} else {
		out.Error = wordQMP(err)
	}
	answer, err := json.Marshal(out)
	if err != nil {
		answer = fmt.Appendf(nil, `{"error":{"class":"GenericError","desc":%q}}`, err.Error())
	}
	return answer, out.Error != nil || err != nil
}

// qmpError is an error in QMP's own form.
type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func wordQMP(err error) *qmpError {
	if err == nil {
		return nil
	}
	var e *qmp.Error
	if errors.As(err, &e) {
		return &qmpError{e.Class, e.Desc}
	}
	return &qmpError{"GenericError", err.Error()}
}

// qmpEvent is an event as --qmp prints it.
type qmpEvent struct {
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data,omitempty"`
}

func eventLine(e qmp.Event) []byte {
	var out qmpEvent
	out.Event, out.Data = e.Name, e.Data
	if out.Timestamp.Seconds, out.Timestamp.Microseconds = -1, -1; !e.Time.IsZero() {
		out.Timestamp.Seconds, out.Timestamp.Microseconds = e.Time.Unix(), int64(e.Time.Nanosecond()/1000)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return []byte(`{"event":"kvmctl: an event that is no JSON"}`)
	}
	return b
}
