package agentcmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/configs/kvmha"
	"kvmctl/configs/kvmha/ucarp"
	"kvmctl/internal/atomicfile"
)

// The files of ucarp that are read where nothing else is asked for.
const (
	ucarpDefault    = "/etc/default/ucarp"
	ucarpInterfaces = "/etc/ucarp/interface"
	debianNetworks  = "/etc/network/interfaces"
	passwordDir     = "/etc/kvmha"
)

// maxImport bounds a file that is read, in bytes; the parser's own bound is smaller.
const maxImport = 1 << 20

type importOptions struct {
	common, each, passwords string
	args                    []string
}

func newImportUCARP(a *app) *cobra.Command {
	o := &importOptions{}
	cmd := &cobra.Command{
		Use:   "import-ucarp [-- <ucarp option>...]",
		Short: "Write a ucarp's configuration as a kvmha.toml",
		Long: `Read how ucarp was configured and print the same as a kvmha.toml: from /etc/default/ucarp and a file for each
ucarp in /etc/ucarp/interface, and from the ucarp-… lines of /etc/network/interfaces and interfaces.d,
which is Debian's own way; or from the files that --default and --interfaces name, or from a command line
behind "--". No shell is run: what is no plain assignment is passed over, and said.

Passwords are not printed. Each is written to a file of its own, mode 0600, in /etc/kvmha or where
--passwords says; a file that is there with another password is left as it is, and nothing is printed. What
has no counterpart is said on standard error, and what is printed loads strictly.`,
		Example: `  kvmha import-ucarp >/etc/kvmha.toml
  kvmha import-ucarp --default /etc/sysconfig/ucarp --interfaces /etc/ucarp
  kvmha import-ucarp -- -i eth0 -s 10.1.1.10 -v 10 -o /etc/ucarp.pass -a 10.1.1.252 -P`,
		Args: func(cmd *cobra.Command, words []string) error {
			if dash := cmd.ArgsLenAtDash(); len(words) > 0 && dash != 0 {
				return cli.Usage("kvmha import-ucarp -- -i eth0 …", "cannot run kvmha import-ucarp: ucarp's own options stand behind --")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, words []string) error {
			o.args = words
			return a.runImportUCARP(o)
		},
	}
	cmd.Flags().StringVar(&o.common, "default", "", "read the common settings from `FILE`")
	cmd.Flags().StringVar(&o.each, "interfaces", "", "read each file of `DIR` as a ucarp")
	cmd.Flags().StringVar(&o.passwords, "passwords", "", "put password files into `DIR`")
	return cmd
}

func (a *app) runImportUCARP(o *importOptions) error {
	im, err := a.readUCARP(o)
	if err != nil {
		return fmt.Errorf("cannot import ucarp: %w", err)
	}
	if len(im.Groups) == 0 {
		return cli.Failed("kvmha import-ucarp --default <file>, or kvmha import-ucarp -- <ucarp's options>",
			"cannot import ucarp: neither %s nor a file in %s is there, and %s has no ucarp", a.root+ucarpDefault, a.root+ucarpInterfaces, a.root+debianNetworks)
	}
	dir := o.passwords
	if dir == "" {
		dir = filepath.Join(a.root, passwordDir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("cannot import ucarp: %w", err)
	}
	text, passwords := im.Render(dir)
	for _, n := range im.Notes {
		a.env.Talk("%s", cli.Printable(n))
	}
	if err := a.writePasswords(passwords); err != nil {
		return err
	}
	var errs []error
	for _, p := range kvmha.Judge("kvmha.toml", text) {
		errs = append(errs, cli.Usage(p.Hint(), "cannot import ucarp: %w", p))
	}
	if len(errs) == 0 {
		a.env.Print("%s", text)
	}
	return errors.Join(errs...)
}

// readUCARP reads the command line, or the files that are asked for, or those in the usual places.
func (a *app) readUCARP(o *importOptions) (ucarp.Import, error) {
	if len(o.args) > 0 {
		if o.common != "" || o.each != "" {
			return ucarp.Import{}, cli.Usage("kvmha import-ucarp --help", "files and a command line exclude each other")
		}
		return ucarp.Args(o.args)
	}
	common, each, mayLack := o.common, o.each, false
	if common == "" && each == "" {
		common, each, mayLack = a.root+ucarpDefault, a.root+ucarpInterfaces, true
	}
	var base *ucarp.Source
	var list []ucarp.Source
	if common != "" {
		text, err := readBounded(common)
		switch {
		case err == nil:
			base = &ucarp.Source{Name: common, Text: text}
		case !mayLack || !errors.Is(err, fs.ErrNotExist):
			return ucarp.Import{}, err
		}
	}
	if each != "" {
		var err error
		if list, err = readDir(each); err != nil && (!mayLack || !errors.Is(err, fs.ErrNotExist)) {
			return ucarp.Import{}, err
		}
	}
	var networks []ucarp.Source
	if mayLack {
		var err error
		if networks, err = readNetworks(a.root + debianNetworks); err != nil {
			return ucarp.Import{}, err
		}
	}
	return ucarp.Files(base, list, networks...)
}

// readDir reads each file of a directory, but none that an editor or dpkg left behind.
func readDir(dir string) (list []ucarp.Source, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.Contains(name, ".dpkg-") {
			continue
		}
		text, err := readBounded(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		list = append(list, ucarp.Source{Name: filepath.Join(dir, name), Text: text})
	}
	return list, nil
}

// readNetworks reads interfaces(5), and what Debian's sources from its directory; either may not be there.
func readNetworks(path string) ([]ucarp.Source, error) {
	var list []ucarp.Source
	text, err := readBounded(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		list = append(list, ucarp.Source{Name: path, Text: text})
	}
	more, err := readDir(path + ".d")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return append(list, more...), nil
}

var errNotRegular = errors.New("no regular file")

// readBounded does not hang on a FIFO and does not read what no parser would take.
func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, permission(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, &fs.PathError{Op: "read", Path: path, Err: errNotRegular})
	}
	return io.ReadAll(io.LimitReader(f, maxImport))
}

// writePasswords puts each password into a file that root alone may read. One that is there already stays: with the same password all is well.
func (a *app) writePasswords(passwords []ucarp.Password) error {
	for _, p := range passwords {
		want := p.Text.Reveal() + "\n"
		switch have, err := readBounded(p.File); {
		case err == nil && string(have) == want:
			if err := os.Chmod(p.File, 0o600); err != nil {
				return fmt.Errorf("cannot import ucarp: %w", err)
			}
			continue
		case err == nil:
			return cli.Refused("kvmha import-ucarp --passwords <another directory>", "cannot import ucarp: %s is there and holds another password", p.File)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("cannot import ucarp: %w", permission(err))
		}
		if err := os.MkdirAll(filepath.Dir(p.File), 0o700); err != nil {
			return fmt.Errorf("cannot import ucarp: %w", permission(err))
		}
		if err := atomicfile.Write(p.File, []byte(want), 0o600); err != nil {
			return fmt.Errorf("cannot import ucarp: write %s: %w", p.File, permission(err))
		}
		a.env.Talk("the password is in %s", p.File)
	}
	return nil
}
