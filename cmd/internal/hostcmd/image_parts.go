package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/units"
	"kvmctl/vm/image/parttable"
)

func newImageParts(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "parts <vm>[:<disk>]|FILE [--json]",
		Short: "List the partitions of an image and what is in them",
		Long: `List the partitions of an image, or of all images of a guest, which must not run: GPT, MBR with its
logical partitions, and BSD disklabels, in a slice or on the whole disk. PART is what image mount
takes for --part: 1 and 5 as Linux counts, 2a for partition a of the label in slice 2, and whole for
an image that nobody divided. Nothing in the image is changed.`,
		Example: `  kvmctl image parts vm-olorin
  kvmctl image parts ./freebsd.qcow2 --json`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeImage,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runImageParts(cmd.Context(), args[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// diskRow is an image in `image parts --json`.
type diskRow struct {
	Path   string           `json:"path"`
	Scheme parttable.Scheme `json:"scheme"` // gpt, mbr, bsd, none
	Notes  []string         `json:"notes,omitempty"`
	Parts  []partRow        `json:"partitions"`
}

// partRow is a partition in `image parts --json`.
type partRow struct {
	Part    string `json:"part"`
	Type    string `json:"type,omitempty"`
	Start   int64  `json:"start_bytes"`
	Size    int64  `json:"size_bytes"`
	FS      string `json:"filesystem,omitempty"`
	Label   string `json:"label,omitempty"`
	Dirty   bool   `json:"dirty,omitempty"` // a journal waits to be replayed
	Problem string `json:"problem,omitempty"`
}

func (a *app) runImageParts(ctx context.Context, arg string, asJSON bool) error {
	if err := a.needRoot("look into an image"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	targets, err := a.imageTargets(ctx, s, arg, "look into", "")
	if err != nil {
		return err
	}
	rows := make([]diskRow, 0, len(targets))
	var errs []error
	for _, t := range targets {
		table, err := a.partsOf(ctx, s, t)
		if err != nil {
			errs = append(errs, permission(fmt.Errorf("cannot look into %s: %w", arg, err)))
			continue
		}
		rows = append(rows, newDiskRow(t, table))
	}
	switch {
	case asJSON:
		errs = append(errs, a.env.JSON(rows))
	case len(targets) == 0:
		a.env.Talk("%s has no disk", arg)
	case len(rows) > 0:
		errs = append(errs, a.printParts(rows, len(targets) > 1))
	}
	return errors.Join(errs...)
}

func (a *app) partsOf(ctx context.Context, s *configs.Site, t target) (table parttable.Table, err error) {
	h := a.host(s, "image parts")
	err = a.exclusively(ctx, h, t, "image parts", func() (err error) {
		table, err = a.mounts(s).Parts(ctx, t.path, t.format)
		return err
	})
	return table, err
}

func newDiskRow(t target, table parttable.Table) diskRow {
	r := diskRow{Path: t.path, Scheme: table.Scheme, Notes: table.Notes, Parts: make([]partRow, 0, len(table.Partitions))}
	for _, p := range table.Partitions {
		r.Parts = append(r.Parts, partRow{p.Name, p.Type, p.Start, p.Size, p.FS.Kind, p.FS.Label, p.FS.Dirty, p.Problem})
	}
	return r
}

// printParts prints one table; with several disks each line says of which it is.
func (a *app) printParts(rows []diskRow, several bool) error {
	header := []string{"PART", "TYPE", "START", "SIZE", "FILESYSTEM", "LABEL", "NOTE"}
	if several {
		header = append([]string{"DISK"}, header...)
	}
	var cells [][]string
	for i, r := range rows {
		for _, n := range r.Notes {
			a.env.Talk("image %s: %s", r.Path, n)
		}
		if len(r.Parts) == 0 {
			a.env.Talk("image %s has an empty %s partition table", r.Path, r.Scheme)
		}
		for _, p := range r.Parts {
			note := p.Problem
			if p.Dirty {
				note = join(note, "its journal was not replayed")
			}
			row := []string{p.Part, p.Type, units.Size(p.Start).String(), units.Size(p.Size).String(), p.FS, p.Label, note}
			if several {
				row = append([]string{strconv.Itoa(i)}, row...)
			}
			cells = append(cells, row)
		}
	}
	return cli.Table(a.env.Out, header, cells)
}
