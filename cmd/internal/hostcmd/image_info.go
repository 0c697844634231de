package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/units"
	"kvmctl/vm/image"
)

func newImageInfo(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info <vm>|FILE [--json]",
		Short: "Show what an image is, or all images of a guest",
		Long: `Show an image's format, its size as the guest sees it and on the disk, what it is based on and who
uses it. The guest may be running.`,
		Example: `  kvmctl image info vm-olorin
  kvmctl image info /srv/data.qcow2 --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeImage,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runImageInfo(cmd.Context(), args[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// imageRow is an image in `image info --json`.
type imageRow struct {
	Path          string        `json:"path"`
	UsedBy        []string      `json:"used_by,omitempty"` // <vm>:<disk>
	Format        string        `json:"format"`
	Size          int64         `json:"size_bytes"`    // as the guest sees it
	OnDisk        int64         `json:"on_disk_bytes"` //
	Backing       string        `json:"backing,omitempty"`
	BackingFormat string        `json:"backing_format,omitempty"`
	Dirty         bool          `json:"dirty,omitempty"`
	Corrupt       bool          `json:"corrupt,omitempty"`
	Snapshots     []snapshotRow `json:"snapshots,omitempty"`
}

// snapshotRow is an internal snapshot in `image info --json`.
type snapshotRow struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Made  time.Time `json:"made"`
	State int64     `json:"memory_bytes,omitempty"`
}

func (a *app) runImageInfo(ctx context.Context, arg string, asJSON bool) error {
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	targets, err := a.imageTargets(ctx, s, arg, "show", "")
	if err != nil {
		return err
	}
	rows := make([]imageRow, 0, len(targets))
	var errs []error
	for _, t := range targets {
		info, err := imageTool().Info(ctx, t.path, t.format)
		if err != nil {
			errs = append(errs, permission(fmt.Errorf("cannot show %s: %w", arg, err)))
			continue
		}
		rows = append(rows, newImageRow(t, info))
	}
	if asJSON {
		return errors.Join(append(errs, a.env.JSON(rows))...)
	}
	if len(targets) == 0 {
		a.env.Talk("%s has no disk", arg)
	}
	for i, r := range rows {
		if i > 0 {
			a.env.Print("\n")
		}
		a.printImage(r)
	}
	return errors.Join(errs...)
}

func newImageRow(t target, info image.Info) imageRow {
	r := imageRow{Path: t.path, Format: info.Format, Size: int64(info.VirtualSize), OnDisk: int64(info.ActualSize),
		Backing: info.FullBacking, BackingFormat: info.BackingFormat, Dirty: info.Dirty, Corrupt: info.Corrupt}
	if r.Backing == "" {
		r.Backing = info.Backing
	}
	for _, u := range t.users {
		r.UsedBy = append(r.UsedBy, u.String())
	}
	for _, s := range info.Snapshots {
		r.Snapshots = append(r.Snapshots, snapshotRow{s.ID, s.Name, s.Made, int64(s.State)})
	}
	return r
}

func (a *app) printImage(r imageRow) {
	row := func(key, format string, v ...any) {
		a.env.Print("%-12s%s\n", key, cli.Printable(fmt.Sprintf(format, v...)))
	}
	row("image", "%s", r.Path)
	if len(r.UsedBy) > 0 {
		row("used by", "%s", strings.Join(r.UsedBy, " "))
	}
	row("format", "%s", r.Format)
	row("size", "%v", units.Size(r.Size))
	row("on disk", "%v", units.Size(r.OnDisk))
	if r.Backing != "" {
		row("based on", "%s (%s)", r.Backing, orNone(r.BackingFormat))
	}
	if r.Corrupt {
		row("state", "corrupt: kvmctl image check --repair %s", r.Path)
	} else if r.Dirty {
		row("state", "not closed in order: the next use repairs it")
	}
	for _, s := range r.Snapshots {
		row("snapshot", "%s %q, %s", s.ID, s.Name, s.Made.Format(time.DateTime))
	}
}
