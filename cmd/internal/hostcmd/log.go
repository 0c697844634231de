package hostcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/vm"
)

type logOptions struct {
	name  string
	last  int
	json  bool
	given bool // -n was given
}

func newLog(a *app) *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:   "log <vm> [-n <count>] [--json]",
		Short: "Show what happened to a guest, and why",
		Long: `Show what happened to a guest and why, a line a fact, the newest last: who started it, what QEMU
reported from its flight recorder whether or not anybody looked, each step of a stop, and how each
run ended. The same event many times in a row is one line with its count.

--json prints the facts as an array.`,
		Example: `  kvmctl log vm-olorin
  kvmctl log vm-olorin -n 1
  kvmctl log vm-olorin --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name, o.given = args[0], cmd.Flags().Changed("number")
			return a.runLog(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVarP(&o.last, "number", "n", 0, "only the last so many")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (a *app) runLog(ctx context.Context, o logOptions) error {
	const act = "show the log of"
	if o.given && o.last < 1 {
		return cli.Usage("kvmctl log "+o.name+" -n 10", "cannot %s %s: -n has to be 1 or more", act, o.name)
	}
	if err := a.needRoot(act + " a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if err := a.known(s, o.name, act); err != nil {
		return err
	}
	h := a.host(s, "log")
	h.Status(ctx, []string{o.name}) // one that ended unseen is noticed now
	if err := h.Harvest(o.name); err != nil {
		return fmt.Errorf("cannot %s %s: %w", act, o.name, err)
	}
	facts, err := h.Log(o.name)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", act, o.name, err)
	}
	if o.given {
		facts = facts[max(0, len(facts)-o.last):]
	}
	if o.json {
		if facts == nil {
			facts = []vm.Fact{}
		}
		return a.env.JSON(facts)
	}
	var cells [][]string
	for _, f := range facts {
		what, why := wordFact(f)
		cells = append(cells, []string{f.Time.Local().Format(time.DateTime), what, why})
	}
	return cli.Table(a.env.Out, []string{"TIME", "WHAT", "WHY"}, cells)
}

// wordFact says a fact as people do: what happened, and why or how.
func wordFact(f vm.Fact) (what, why string) {
	switch f.Kind {
	case vm.KindStart:
		what, why = "started", fmt.Sprintf("by %s; pid %d", f.By, f.PID)
		if f.Reason != "" {
			why += "; " + f.Reason
		}
	case vm.KindStop:
		what, why = "stop", wordRung(f.Reason)
		if f.By != "" {
			why += ", by " + f.By
		}
	case vm.KindEnd:
		if what, why = string(f.State), f.Reason; what == "" {
			what = "ended"
		}
		if f.Noticed != nil && f.Noticed.Sub(f.Time) > time.Minute {
			why += fmt.Sprintf(" (noticed %s later)", cli.Age(f.Noticed.Sub(f.Time)))
		}
	case vm.KindEvent:
		what, why = wordEvent(f.Event, f.Data)
	case vm.KindFail:
		what, why = "start failed", f.Reason
		if f.By != "" {
			why += "; by " + f.By
		}
	case vm.KindInstall:
		what, why = "install", "boots "+f.Reason+" once"
	case vm.KindSave:
		what, why = "saved", f.Reason+", by "+f.By
	case vm.KindFence:
		if what, why = "fenced", f.Reason; f.PID == 0 {
			why += ", was stopped already"
		} else {
			why += fmt.Sprintf(", killed (pid %d)", f.PID)
		}
		why += "; by " + f.By + "; request " + f.Request
	case vm.KindUnhold:
		what, why = "let go", f.Reason+"; by "+f.By
	case vm.KindLogFull:
		what, why = "log full", f.Reason
	case vm.KindHook:
		what, why = "hook", strings.TrimPrefix(f.Event+": "+f.Reason, ": ")
	case vm.KindSkipped:
		return "skipped", fmt.Sprintf("%d more events; kvmctl log has them", f.Count)
	default: // note, and what a later kvmctl writes
		what, why = string(f.Kind), f.Reason
	}
	if f.Count > 1 {
		times := fmt.Sprintf("%d times", f.Count)
		if f.Until != nil {
			times += ", until " + f.Until.Local().Format(time.DateTime)
		}
		why = strings.TrimPrefix(why+"; "+times, "; ")
	}
	return what, why
}

// wordRung words a step of the stop ladder.
func wordRung(rung string) string {
	switch rung {
	case vm.RungAgent.String():
		return "asked the guest agent to shut down"
	case vm.RungACPI.String():
		return "pressed the power button"
	case vm.RungQuit.String():
		return "told QEMU to quit"
	case vm.RungTerm.String():
		return "sent SIGTERM"
	case vm.RungKill.String():
		return "sent SIGKILL"
	}
	return rung
}

// eventData is what we word of the events' data (qapi/*.json of QEMU 7.2).
type eventData struct {
	Reason    string `json:"reason"`
	Action    string `json:"action"`
	Device    string `json:"device"`
	Operation string `json:"operation"`
	NoSpace   bool   `json:"nospace"`
	Actual    int64  `json:"actual"`
	Path      string `json:"path"`
	ID        string `json:"id"`
	Open      bool   `json:"open"`
	Offset    int64  `json:"offset"`
	Client    struct {
		Host string `json:"host"`
	} `json:"client"`
}

// wordEvent words an event of QEMU's. One that we have no words for keeps its name and data.
func wordEvent(name string, data json.RawMessage) (what, why string) {
	var d eventData
	if len(data) > 0 && json.Unmarshal(data, &d) != nil {
		return strings.ToLower(name), compact(data)
	}
	switch name {
	case "SHUTDOWN":
		return "shutdown", wordShutdown(d.Reason)
	case "POWERDOWN":
		return "power button", "pressed"
	case "RESET":
		return "reset", wordShutdown(d.Reason)
	case "STOP":
		return "paused", ""
	case "RESUME":
		return "resumed", ""
	case "SUSPEND", "SUSPEND_DISK":
		return "suspended", "by the guest"
	case "WAKEUP":
		return "woke up", ""
	case "WATCHDOG":
		return "watchdog", d.Action
	case "GUEST_PANICKED":
		return "panic", d.Action
	case "BLOCK_IO_ERROR":
		why = fmt.Sprintf("%s %s: %s; %s", orDisk(d.Device), d.Operation, d.Reason, d.Action)
		if d.NoSpace {
			why += "; no space left on the host"
		}
		return "disk error", why
	case "BALLOON_CHANGE":
		return "balloon", fmt.Sprintf("the guest has %d MiB", d.Actual>>20)
	case "DEVICE_DELETED":
		return "device removed", orDisk(strings.TrimSpace(d.Device))
	case "VSERPORT_CHANGE":
		if d.ID == "agent0" {
			return "guest agent", map[bool]string{true: "opened its channel", false: "closed its channel"}[d.Open]
		}
	case "VNC_CONNECTED":
		return "VNC", "connection from " + d.Client.Host
	case "VNC_INITIALIZED":
		return "VNC", d.Client.Host + " sees the screen"
	case "VNC_DISCONNECTED":
		return "VNC", d.Client.Host + " has gone"
	case "RTC_CHANGE":
		return "clock", fmt.Sprintf("the guest set its clock, %+d s from the host's", d.Offset)
	}
	return strings.ToLower(name), compact(data)
}

func orDisk(device string) string {
	if device == "" {
		return "a device"
	}
	return device
}

// wordShutdown words QEMU's ShutdownCause (qapi/run-state.json).
func wordShutdown(reason string) string {
	switch reason {
	case "guest-shutdown":
		return "the guest shut down"
	case "guest-reset":
		return "the guest asked for it"
	case "guest-panic":
		return "the guest panicked"
	case "host-qmp-quit":
		return "quit on a monitor"
	case "host-qmp-system-reset":
		return "system_reset on a monitor"
	case "host-signal":
		return "a signal from the host"
	case "host-ui":
		return "the window was closed"
	case "host-error":
		return "an error on the host"
	case "subsystem-reset":
		return "a part of the machine"
	}
	return reason
}

// maxCompact bounds an event's data in a table, in bytes.
const maxCompact = 200

func compact(data json.RawMessage) string {
	var b bytes.Buffer
	if len(data) == 0 || json.Compact(&b, data) != nil {
		return ""
	}
	if s := b.String(); len(s) > maxCompact {
		return strings.ToValidUTF8(s[:maxCompact], "") + "…"
	}
	return b.String()
}
