package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/salvage"
	"kvmctl/internal/runner"
)

// getWait bounds the copy of one file or directory out of what was kept.
const getWait = time.Hour

func newDRBDKept(a *app) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "kept",
		Short: "List what the losers of a split brain had, and get files back",
		Long: `List what "kvmha drbd resolve" kept on this node of a loser's disks before they were overwritten. Each is a whole image of the disk, with holes where it had
zeros; a file system in it is mounted read-only, and not replayed.`,
		Example: `  kvmha drbd kept
  kvmha drbd kept get 20261123-201500-r0 home/anna/thesis.odt /root/
  kvmha drbd kept mount 20261123-201500-r0 /mnt
  kvmha drbd kept rm 20261123-201500-r0`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, words []string) error {
			if len(words) > 0 {
				return unknownCommand(cmd, words[0])
			}
			return a.listKept(asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(newKeptGet(a), newKeptMount(a), newKeptRemove(a))
	return cmd
}

func (a *app) listKept(asJSON bool) error {
	if err := a.needRoot("list what is kept"); err != nil {
		return err
	}
	all, err := salvage.List(a.keptPath())
	if err != nil {
		a.env.Talk("%s", cli.Printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
	}
	if asJSON {
		return a.env.JSON(append([]salvage.Kept{}, all...))
	}
	if len(all) == 0 {
		a.env.Talk("nothing is kept on this node")
		return nil
	}
	var rows [][]string
	for _, k := range all {
		rows = append(rows, []string{k.ID, k.Group, k.Resource, k.At.Local().Format(time.DateTime), kib(k.Changed), k.Survivor, k.Where})
	}
	var b strings.Builder
	if err := cli.Table(&b, []string{"KEPT", "GROUP", "RESOURCE", "AT", "CHANGED", "OVERWRITTEN BY", "WHERE"}, rows); err != nil {
		return fmt.Errorf("cannot list what is kept: %w", err)
	}
	a.env.Print("%s", b.String())
	return nil
}

// image is a volume that was kept.
type image struct {
	path string
	data uint64 // bytes of it, without DRBD's metadata; 0: not known
}

// keptVolume finds an image.
func (a *app) keptVolume(act, id string, volume int) (none image, err error) {
	if err := a.needRoot(act); err != nil {
		return none, err
	}
	k, err := salvage.Read(a.keptPath(), id)
	if err != nil {
		return none, cli.Usage("kvmha drbd kept", "cannot %s: %w", act, err)
	}
	for _, i := range k.Images {
		if i.Volume == volume {
			return image{k.Path(i), i.Data}, nil
		}
	}
	return none, cli.Usage("kvmha drbd kept --json", "cannot %s: %s has no volume %d", act, id, volume)
}

// mountKept mounts an image read-only. Its journal is not replayed: what was kept stays as it was. DRBD's metadata are cut off: mount would take the whole for
// DRBD's.
func (a *app) mountKept(ctx context.Context, i image, dir string) error {
	var errs []error
	part := ""
	if i.data > 0 {
		part = fmt.Sprintf(",sizelimit=%d", i.data)
	}
	for _, options := range []string{"loop,ro,noload", "loop,ro,norecovery", "loop,ro"} { // ext3 and ext4; XFS; the others
		err := a.program(ctx, "mount", "-o", options+part, i.path, dir)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errs[0]
}

func (a *app) program(ctx context.Context, argv ...string) error {
	r, err := runner.Exec{}.Run(ctx, runner.Command{Argv: argv})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("%s: exit %d: %s", argv[0], r.Exit, strings.ReplaceAll(strings.TrimSpace(string(r.Stderr)), "\n", "; "))
	}
	return err
}

func newKeptMount(a *app) *cobra.Command {
	volume := 0
	cmd := &cobra.Command{
		Use:     "mount <kept> <directory>",
		Short:   "Mount what was kept, read-only",
		Long:    "Mount the file system of what was kept, read-only and without replaying its journal. \"umount <directory>\" ends it.",
		Example: "  kvmha drbd kept mount 20261123-201500-r0 /mnt",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, words []string) error {
			i, err := a.keptVolume("mount "+words[0], words[0], volume)
			if err != nil {
				return err
			}
			if err := a.mountKept(cmd.Context(), i, words[1]); err != nil {
				return cli.Failed("file -s "+i.path, "cannot mount %s: %w", words[0], err)
			}
			a.env.Talk("mounted read-only; to end it: umount %s", words[1])
			return nil
		},
	}
	cmd.Flags().IntVar(&volume, "volume", 0, "volume `N` of the resource")
	return cmd
}

func newKeptGet(a *app) *cobra.Command {
	volume := 0
	cmd := &cobra.Command{
		Use:   "get <kept> <path> <destination>",
		Short: "Copy a file or a directory out of what was kept",
		Long: `Copy a file or a directory, with its owners, modes and times, out of what was kept. The path is the one in the file system; a file that is at the
destination already is not overwritten.`,
		Example: "  kvmha drbd kept get 20261123-201500-r0 home/anna/thesis.odt /root/",
		Args:    args(cobra.ExactArgs(3)),
		RunE: func(cmd *cobra.Command, words []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), getWait)
			defer cancel()
			i, err := a.keptVolume("get "+words[1], words[0], volume)
			if err != nil {
				return err
			}
			if err := a.getKept(ctx, i, words[1], words[2]); err != nil {
				return cli.Failed("kvmha drbd kept mount "+words[0]+" <directory>", "cannot get %s: %w", words[1], err)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&volume, "volume", 0, "volume `N` of the resource")
	return cmd
}

var errOutside = errors.New("it leads out of the file system")

func (a *app) getKept(ctx context.Context, i image, path, to string) (err error) {
	dir, err := os.MkdirTemp("", "kvmha-kept-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := a.mountKept(ctx, i, dir); err != nil {
		return err
	}
	defer func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepWait)
		defer cancel()
		err = errors.Join(err, a.program(within, "umount", dir))
	}()
	from, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.Join("/", path)))
	if err != nil {
		return err
	}
	if from != dir && !strings.HasPrefix(from, dir+"/") {
		return errOutside
	}
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		to = filepath.Join(to, filepath.Base(from))
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already: %w", to, os.ErrExist)
	}
	return a.program(ctx, "cp", "-a", from, to)
}

func newKeptRemove(a *app) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:     "rm <kept>",
		Short:   "Remove what was kept",
		Long:    "Remove what was kept. Nothing else has it.",
		Example: "  kvmha drbd kept rm 20261123-201500-r0",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			if err := a.needRoot("remove " + words[0]); err != nil {
				return err
			}
			k, err := salvage.Read(a.keptPath(), words[0])
			if err != nil {
				return cli.Usage("kvmha drbd kept", "cannot remove %s: %w", strconv.Quote(words[0]), err)
			}
			if err := a.sure(yes, fmt.Sprintf("What %s had is nowhere else. Type the resource's name: ", k.Node), k.Resource, "kvmha drbd kept rm "+k.ID+" --yes"); err != nil {
				return err
			}
			if err := salvage.Remove(a.keptPath(), k.ID); err != nil {
				return fmt.Errorf("cannot %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
