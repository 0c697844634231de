package hostcmd

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/units"
	"kvmctl/vm"
)

type statusOptions struct {
	names []string
	json  bool
}

func newStatus(a *app) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status [<vm>...] [--json]",
		Short: "Show what each guest does, and why one is not up",
		Long: `Show each guest's state, which comes from the kernel and QEMU, never from a file that could be stale:
stopped, starting, running, paused, stopping, wedged (QEMU lives and does not answer), crashed
(ended without a word). A guest that ended since the last command is noticed here. "pending changes"
says that a running guest's vm.toml means something else than what is in force, "held for" a node that
kvmctl fence killed the guest for that node, and that it does not start until kvmctl unhold.

A guest that is named is asked by its QEMU's monitor, which has a second to answer. Without a name
only those are asked whose QEMU does not wait for work as it should, or whose flight recorder does not
say that it runs, and they have 200 ms.`,
		Example: `  kvmctl status
  kvmctl status vm-olorin --json`,
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names = names
			return a.runStatus(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// statusRow is a guest in `status --json`.
type statusRow struct {
	Name        string       `json:"name"`
	State       vm.StateWord `json:"state"`
	PID         int          `json:"pid,omitempty"`
	Since       *time.Time   `json:"since,omitempty"`
	UptimeSec   int64        `json:"uptime_seconds,omitempty"`
	MemoryBytes units.Size   `json:"-"`
	Memory      int64        `json:"memory_bytes,omitempty"`
	VNC         string       `json:"vnc,omitempty"`
	Accel       vm.Accel     `json:"accel,omitempty"`
	Custom      bool         `json:"custom,omitempty"`
	Ready       *bool        `json:"ready,omitempty"`   // when somebody last looked
	Pending     string       `json:"pending,omitempty"` // "changes" of vm.toml that are not in force; "guest": in force, not known to be seen by it
	Note        string       `json:"note,omitempty"`
	Why         string       `json:"why,omitempty"`  // it is not up again, beside what ended it
	Held        string       `json:"held,omitempty"` // it must not run: "held for varda2"
}

func (a *app) runStatus(ctx context.Context, o statusOptions) error {
	if err := a.needRoot("show the guests' state"); err != nil {
		return err
	}
	look, names, bad, err := a.statusNames(ctx, o.names)
	if err != nil {
		return err
	}
	if len(names) == 0 && bad != nil {
		return bad
	}
	h := a.host(&configs.Site{Root: a.root, Host: look.Host}, "status")
	ask := h.Overview
	if len(o.names) > 0 {
		ask = h.Status
	}
	rows := statusRows(look, ask(ctx, names))
	if o.json {
		return errors.Join(bad, a.env.JSON(rows))
	}
	var cells [][]string
	for _, r := range rows {
		pid, up := "", ""
		if r.PID > 0 {
			pid = strconv.Itoa(r.PID)
			if r.Since != nil {
				up = cli.Age(time.Duration(r.UptimeSec) * time.Second)
			}
		}
		cells = append(cells, []string{r.Name, string(r.State), pid, up, sizeOrNone(r.MemoryBytes), display(r.VNC), a.env.Offers(r.note(time.Now()))})
	}
	err = cli.Table(a.env.Out, []string{"NAME", "STATE", "PID", "UPTIME", "MEMORY", "VNC", "NOTE"}, cells)
	return errors.Join(bad, err)
}

// statusNames gives the guests to show: the named ones, or all that are configured or run; and how they are configured. Only names that
// were asked for need the whole site, whose errors know what may have been meant.
func (a *app) statusNames(ctx context.Context, asked []string) (look *configs.Glance, names []string, bad, err error) {
	running, err := a.layout().Known()
	if err != nil {
		return nil, nil, nil, err
	}
	if len(asked) == 0 {
		if look, err = configs.LoadGlance(ctx, a.root, a.layout().SiteCache()); err != nil {
			return nil, nil, nil, cannotLoad(err)
		}
		for _, g := range look.Guests {
			names = append(names, g.Name)
		}
		names = append(names, running...)
		slices.Sort(names)
		return look, slices.Compact(names), nil, nil
	}
	s, err := a.site(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	var errs []error
	for _, n := range dedupe(asked) {
		if _, err := s.Guest(n); err != nil && !slices.Contains(running, n) {
			errs = append(errs, usable("show", n, err))
			continue
		}
		names = append(names, n)
	}
	return s.Glance(), names, errors.Join(errs...), nil
}

func statusRows(look *configs.Glance, all []vm.Status) []statusRow {
	rows := make([]statusRow, 0, len(all))
	for _, st := range all {
		r := statusRow{Name: st.Name, State: st.State, PID: st.PID, MemoryBytes: st.Memory, VNC: st.VNC, Accel: st.Accel,
			Custom: st.Custom, Ready: st.Ready, Note: st.Note, Held: st.Held}
		if !st.Since.IsZero() {
			r.Since = &st.Since
		}
		if st.PID > 0 && r.Since != nil {
			r.UptimeSec = int64(time.Since(st.Since) / time.Second)
		}
		g, known := look.Find(st.Name)
		if r.MemoryBytes == 0 {
			r.MemoryBytes = g.Memory
		}
		r.Memory = int64(r.MemoryBytes)
		switch {
		case !known:
			r.Note = join(r.Note, "no longer configured")
		case g.Broken:
			r.Note = join(r.Note, "its configuration is broken: kvmctl check "+st.Name)
		case st.HostDown && st.Held != "": // that is why
		case st.HostDown && g.Auto:
			r.Why = "autostart has not started it: kvmctl start"
		case st.HostDown:
			r.Why = "autostart is off: kvmctl start " + st.Name
		case st.StateOf != nil:
			if st.StateOf.Starter != "" {
				r.Note = join(r.Note, "started by "+st.StateOf.Starter)
			}
			r.markPending(st.StateOf, g.Digest)
		}
		rows = append(rows, r)
	}
	return rows
}

// markPending says whether what runs is what the guest's file means: digest is the file's.
func (r *statusRow) markPending(st *vm.State, digest string) {
	switch {
	case st.Digest != "" && st.Digest != digest: // an older kvmctl wrote none
		r.Pending = "changes"
		r.Note = join(r.Note, "pending changes: kvmctl diff "+r.Name)
	case st.Unseen:
		r.Pending = "guest"
		r.Note = join(r.Note, "pending (guest): kvmctl diff "+r.Name)
	}
}

// note adds to a stopped guest's reason when it was.
func (r statusRow) note(now time.Time) string {
	n := r.Note
	if r.PID == 0 && r.Since != nil && n != "" {
		n += ", " + cli.Age(now.Sub(*r.Since)) + " ago"
	}
	if r.Why != "" {
		n = join(n, r.Why)
	}
	if r.Held != "" {
		n = join(n, r.Held+": kvmctl unhold "+r.Name)
	}
	if r.Custom {
		n = join(n, "custom")
	}
	return n
}

func join(a, b string) string {
	return strings.TrimPrefix(a+"; "+b, "; ")
}

// display gives the short form of a VNC address: :1 on loopback, else host:1; socket for a unix socket.
func display(addr string) string {
	if _, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "socket"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 5900 {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		host = ""
	}
	return host + ":" + strconv.Itoa(n-5900)
}
