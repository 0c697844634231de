package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs"
	"kvmctl/internal/atomicfile"
	"kvmctl/vm"
)

type setOptions struct {
	name   string
	words  []string
	dryRun bool
	force  bool
}

func newSet(a *app) *cobra.Command {
	var o setOptions
	cmd := &cobra.Command{
		Use:   "set <vm> [<key>=<value>...] [--dry-run] [--force]",
		Short: "Change a guest's vm.toml, and the guest itself while it runs",
		Long: `Change keys of a guest's vm.toml. Comments, order and blanks stay as they are; the new file is checked
before it replaces the old one. If the guest runs, what can be had at once is applied: memory and cpus
(up to memory_max and cpus_max), disks and network cards that come and go, discs in CD drives, the
password of the screen. The rest is pending until its next start; kvmctl diff shows it.

key=            removes the key: its default holds again
disk.1.image=F  a key of the second disk; disk.1=F for short, as with cdrom.N (image) and nic.N (bridge)
disk.+.image=F  a new disk; further disk.+.key=value in the same command are of that one
disk.1=         removes the second disk from the guest; its image stays
cdrom.0=eject   takes the disc out; a guest that has it mounted keeps it, unless --force

Debian's kernels do not use memory and CPUs by themselves that come while they run. kvmctl brings them
online through the guest's agent and tells what the guest has then; what QEMU has and the guest is not
known to see is "pending (guest)". What is taken back is asked of the guest, which may refuse.
vnc.password-file is read again also when it is the file that it was.

Without a key, what is pending is tried again. Exit codes beside the usual: 4, QEMU has it and the guest
is not known to see it; 5, the guest did not follow in time.`,
		Example: `  kvmctl set vm-olorin memory=1G cpus=2
  kvmctl set vm-olorin disk.+.image=/srv/data.qcow2 disk.+.cache=none
  kvmctl set vm-olorin nic.1= --dry-run
  kvmctl set vm-olorin cdrom.0=/srv/iso/debian-12.iso
  kvmctl set vm-olorin vnc.password-file=vnc.password
  kvmctl set vm-olorin`,
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeSet,
		RunE: func(cmd *cobra.Command, words []string) error {
			o.name, o.words = words[0], words[1:]
			return a.runSet(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "take a disc out although the guest has locked the drive")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what would differ and change nothing")
	return cmd
}

// completeSet completes a guest's name, then keys.
func (a *app) completeSet(cmd *cobra.Command, given []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(given) == 0 {
		return a.completeGuests(cmd, given, toComplete)
	}
	s, err := configs.Load(cmd.Context(), a.root)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	g, err := s.Guest(given[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var keys []string
	for _, k := range configs.Keys(len(g.Spec.Disks), len(g.Spec.CDROMs), len(g.Spec.NICs)) {
		if strings.HasPrefix(k, toComplete) {
			keys = append(keys, k+"=")
		}
	}
	return keys, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

func (a *app) runSet(ctx context.Context, o setOptions) error {
	if err := a.needRoot("change a guest"); err != nil {
		return err
	}
	s, err := a.site(ctx)
	if err != nil {
		return err
	}
	if _, err := s.Guest(o.name); err != nil {
		return usable("change", o.name, err)
	}
	h := a.host(s, "set")
	if o.dryRun {
		e, err := a.newEdit(ctx, s, o)
		if err != nil {
			return err
		}
		return a.compare(ctx, h, &e.spec, false)
	}
	var result error
	err = h.WithLock(ctx, o.name, "set", func(running bool) error {
		e, err := a.newEdit(ctx, s, o)
		if err != nil {
			result = err // has its own words
			return nil
		}
		if err := e.write(h); err != nil {
			return err
		}
		result, err = a.applyEdit(ctx, h, e, running)
		return err
	})
	if err != nil {
		return permission(fmt.Errorf("cannot change %s: %w", o.name, err))
	}
	return result
}

// edit is a vm.toml before and after.
type edit struct {
	name     string
	file     string // behind symbolic links
	old, new []byte
	spec     vm.Spec  // of new
	named    []string // the keys that were given
	force    bool     // setOptions.force
	nics     int      // of old
	removed  []int    // of its cards
}

// newEdit works out the new file and judges it as a start would.
func (a *app) newEdit(ctx context.Context, s *configs.Site, o setOptions) (*edit, error) {
	e := &edit{name: o.name, force: o.force}
	var err error
	if e.file, err = filepath.EvalSymlinks(a.layout().GuestToml(o.name)); err == nil {
		e.old, err = os.ReadFile(e.file)
	}
	if err != nil {
		return nil, permission(fmt.Errorf("cannot change %s: %w", o.name, err))
	}
	edits, err := configs.ParseAssignments(o.words, e.old)
	if err == nil {
		e.new, err = configs.Apply(e.old, edits)
	}
	if err != nil {
		return nil, cli.Usage(strings.ReplaceAll(cli.Hint(err), "<vm>", o.name), "cannot change %s: %w", o.name, err)
	}
	problems, err := s.Judge(ctx, o.name, e.new)
	if err != nil {
		return nil, fmt.Errorf("cannot change %s: %w", o.name, err)
	}
	if len(problems) > 0 {
		return nil, cannotTake(o.name, problems, edits)
	}
	path := a.layout().GuestToml(o.name)
	e.spec, _ = configs.ParseGuest(path, o.name, e.new, s.Host)
	before, _ := configs.ParseGuest(path, o.name, e.old, s.Host)
	e.nics = len(before.NICs)
	e.removed = configs.RemovedTables("nic", edits)
	for _, x := range edits {
		e.named = append(e.named, x.Path)
	}
	if err := notUnderneath(backedUses(ctx, s), &e.spec); err != nil {
		return nil, fmt.Errorf("cannot change %s: %w", o.name, err)
	}
	return e, nil
}

// cannotTake words what is wrong with the new file. What was typed has no line; what stood there before has.
func cannotTake(name string, problems configs.Problems, edits []configs.Edit) error {
	var all []error
	for _, p := range problems {
		typed := slices.ContainsFunc(edits, func(e configs.Edit) bool {
			return strings.HasPrefix(p.Key, e.Path) || strings.HasPrefix(e.Path, p.Key+".")
		})
		if typed {
			all = append(all, cli.Usage(p.Hint(), "cannot change %s: %s", name, p.Msg))
		} else {
			all = append(all, cli.Usage(p.Hint(), "cannot change %s: %w", name, p))
		}
	}
	return errors.Join(all...)
}

// write replaces the file, which keeps its owner and mode. One that says the same is left alone.
func (e *edit) write(h *vm.Host) error {
	if string(e.old) == string(e.new) {
		return nil
	}
	st, err := os.Stat(e.file)
	if err != nil {
		return err
	}
	replace := func() error {
		owner := atomicfile.Owner{UID: -1, GID: -1}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			owner = atomicfile.Owner{UID: int(sys.Uid), GID: int(sys.Gid)}
		}
		if err := atomicfile.WriteAs(e.file, e.new, st.Mode().Perm(), owner); err != nil {
			return fmt.Errorf("write %s: %w", e.file, err)
		}
		return nil
	}
	if len(e.removed) == 0 {
		return replace()
	}
	return h.RemoveCards(e.name, e.nics, e.removed, replace)
}

// applyEdit gives a running guest what can be had, and says what became of it; result is what the exit code is about.
func (a *app) applyEdit(ctx context.Context, h *vm.Host, e *edit, running bool) (result, err error) {
	changed := string(e.old) != string(e.new)
	if changed {
		a.env.Talk("%s changed: %s", e.name, a.layout().GuestToml(e.name))
	}
	if !running {
		switch {
		case changed:
			a.env.Talk("  it does not run: in force from its next start on")
		default:
			a.env.Talk("%s: nothing to change", e.name)
		}
		return nil, nil
	}
	outcomes, err := h.Apply(ctx, &e.spec, vm.ApplyOptions{Named: e.named, Force: e.force})
	if err != nil {
		return nil, fmt.Errorf("apply what vm.toml says: %w", err)
	}
	said := changed
	for _, o := range outcomes {
		line, bad := tell(e.name, o)
		if line != "" {
			said = true
			a.env.Talk("  %s", line)
		}
		result = errors.Join(result, bad)
	}
	if !said && result == nil {
		a.env.Talk("%s: nothing to change", e.name)
	}
	return result, nil
}

// tell words what became of a change.
func tell(name string, o vm.Outcome) (line string, err error) {
	what := o.Key
	switch {
	case o.File != "":
		what += " " + o.File
	case o.Live != "":
		what += " " + o.Live + " removed"
	}
	note := ""
	if o.Note != "" {
		note = ": " + o.Note
	}
	switch {
	case o.Err != nil:
		return "", fmt.Errorf("cannot apply %s to %s: %w", what, name, o.Err)
	case o.When == vm.WhenStart:
		return what + ": pending until its next start: " + o.Reason, nil
	case o.When == vm.WhenGuest && o.InVain:
		return "", cli.InVain("kvmctl set "+name+" asks again", "%s of %s is pending (guest)%s", what, name, note)
	case o.When == vm.WhenGuest:
		return what + ": pending (guest)" + note, &cli.QuietError{ExitCode: cli.ExitUnclean}
	case o.Acted:
		return what + ": done" + note, nil
	}
	return "", nil
}
