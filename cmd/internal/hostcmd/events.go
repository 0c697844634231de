package hostcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/vm"
)

// eventsEach is how many facts of one guest are shown where nobody says otherwise: a guest that floods its recorder hides no other.
const eventsEach = 200

type eventsOptions struct {
	names  []string
	follow bool
	json   bool
	since  string
	last   int
	given  bool // -n was given
}

func newEvents(a *app) *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events [<vm>...] [-f] [--since <time>] [-n <count>] [--json]",
		Short: "Show what happened to all guests, in the order of time, and go on showing",
		Long: `Show what happened to all guests, or to the named ones, in the order of time: who started and stopped
them, what QEMU reported from each flight recorder whether or not anybody looked, and how each run
ended. Of each guest the last 200 facts are shown, or as many as -n says (0: all that are kept), so
that one that floods its recorder does not hide the others; --since alone shows all from then on.

-f goes on: what happens is shown as it happens, guests that are new appear, the end of a guest is
shown also where its QEMU died without a word. It begins with the last 10 facts of each guest. Of a
guest that floods its recorder no more than 50 events are shown at a time, and how many were not.

--since takes a duration such as 90m, 12h or 7d, a date or a time such as "2026-01-31 18:00".
--json prints one object a line, with and without -f: the facts of log --json and the guest's name.`,
		Example: `  kvmctl events
  kvmctl events -f
  kvmctl events --since 12h vm-olorin vm-varda
  kvmctl events -f --json | grep SHUTDOWN`,
		ValidArgsFunction: a.completeGuests,
		RunE: func(cmd *cobra.Command, names []string) error {
			o.names, o.given = names, cmd.Flags().Changed("number")
			return a.runEvents(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on showing what happens")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, an object a line")
	cmd.Flags().StringVar(&o.since, "since", "", "only what happened since that `TIME` or duration")
	cmd.Flags().IntVarP(&o.last, "number", "n", 0, "only the last so many of each guest; 0: all")
	return cmd
}

func (a *app) runEvents(ctx context.Context, o eventsOptions) error {
	const act = "show the events of"
	if o.given && o.last < 0 {
		return cli.Usage("kvmctl events -n 10", "cannot show the events: -n is negative")
	}
	since, err := parseSince(o.since, time.Now())
	if err != nil {
		return cli.Usage(`kvmctl events --since 12h`, "cannot show the events: --since: %w", err)
	}
	if err := a.needRoot("show the guests' events"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	names := dedupe(o.names)
	for _, n := range names {
		if err := a.known(s, n, act); err != nil {
			return err
		}
	}
	h := a.host(s, "events")
	p := &eventPrinter{app: a, json: o.json, width: nameWidth(s, names)}
	if o.follow {
		if len(names) == 0 {
			names = nil
		}
		err := h.Follow(ctx, names, func(_ string, facts []vm.Fact) []vm.Fact {
			kept, _ := vm.Newest(facts, since, o.each(10))
			return kept
		}, p.print)
		if err != nil {
			return fmt.Errorf("cannot follow the guests' events: %w", err)
		}
		return nil
	}
	if len(names) == 0 {
		if names, err = h.Recorded(); err != nil {
			return fmt.Errorf("cannot show the events: %w", err)
		}
	}
	all, err := a.collect(ctx, h, names, since, o.each(eventsEach))
	if err != nil {
		return err
	}
	return p.print(all)
}

// each is how many facts of a guest are shown; 0: all.
func (o eventsOptions) each(usual int) int {
	if o.given || o.since != "" {
		return o.last
	}
	return usual
}

// collect gives the facts of several guests in the order of time, and says of whom there are more.
func (a *app) collect(ctx context.Context, h *vm.Host, names []string, since time.Time, each int) ([]vm.GuestFact, error) {
	h.Overview(ctx, names) // harvests, and notices who ended unseen
	var all []vm.GuestFact
	for _, n := range names {
		facts, err := h.Log(n)
		if err != nil {
			return nil, fmt.Errorf("cannot show the events of %s: %w", n, err)
		}
		kept, left := vm.Newest(facts, since, each)
		if left > 0 {
			a.env.Talk("%s: %s before these: kvmctl events -n 0 %s", n, count(left, "fact"), n)
		}
		for _, f := range kept {
			all = append(all, vm.GuestFact{VM: n, Fact: f})
		}
	}
	vm.Merge(all)
	return all, nil
}

// nameWidth is the room for a name in lines that are printed one by one.
func nameWidth(s *configs.Site, names []string) int {
	if len(names) == 0 {
		for _, g := range s.Guests {
			names = append(names, g.Spec.Name)
		}
	}
	width := len("VM")
	for _, n := range names {
		width = max(width, len(n))
	}
	return width
}

// eventPrinter prints facts as they come, in columns or as JSON.
type eventPrinter struct {
	app    *app
	json   bool
	width  int
	header bool // was printed
}

// whatWidth is the room for what happened; "guest agent" and "device removed" are the longest words.
const whatWidth = len("device removed")

func (p *eventPrinter) print(facts []vm.GuestFact) error {
	var b strings.Builder
	if !p.json && !p.header {
		p.header = true
		p.line(&b, "TIME", "VM", "WHAT", "WHY")
	}
	for _, f := range facts {
		if p.json {
			line, err := json.Marshal(f)
			if err != nil {
				return err
			}
			b.Write(line)
			b.WriteByte('\n')
			continue
		}
		what, why := wordFact(f.Fact)
		p.line(&b, f.Time.Local().Format(time.DateTime), f.VM, what, why)
	}
	_, err := p.app.env.Out.Write([]byte(b.String()))
	return err
}

func (p *eventPrinter) line(b *strings.Builder, at, name, what, why string) {
	line := fmt.Sprintf("%-*s  %-*s  %-*s  %s", len(time.DateTime), at, p.width, cli.Printable(name), whatWidth, cli.Printable(what), cli.Printable(why))
	b.WriteString(strings.TrimRight(line, " ") + "\n")
}

// sinceForms are the ways to write a time, local where no zone is given.
var sinceForms = []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly}

// parseSince takes a duration before now, with d for days, or a time; empty: the beginning.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range sinceForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok && err != nil {
		if d, err = time.ParseDuration(days + "h"); err == nil && d > 0 && slices.Index([]byte(days), '.') < 0 {
			if d > maxSince/24 {
				d = maxSince / 24
			}
			d *= 24
		}
	}
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%q is neither a duration such as 12h nor a time such as %q", text, "2026-01-31 18:00")
	}
	return now.Add(-d), nil
}

// maxSince is more than any history reaches back.
const maxSince = 200 * 365 * 24 * time.Hour
