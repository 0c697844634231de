package mount

import (
	"context"
	"fmt"
	"strings"

	"kvmctl/internal/child"
	"kvmctl/internal/runner"
)

// checkArgv is what looks at the file system before it is mounted; nil: nothing does.
func checkArgv(m Mount) []string {
	switch {
	case m.Fsck == Fail && extended(m.Type):
		return []string{"e2fsck", "-n", m.Device}
	case m.Fsck == Fail && m.Type == "xfs":
		return []string{"xfs_repair", "-n", m.Device}
	case m.Fsck == Preen && extended(m.Type) && !m.readOnly():
		return []string{"e2fsck", "-p", m.Device}
	}
	return nil
}

// judge says whether what looked at a file system lets it be mounted. e2fsck(8): 1 and 2 say that errors were corrected, from 4 on a bit
// says that some were not or that it could not work; 2 asks for a reboot, which only a mounted file system needs.
func judge(m Mount, argv []string, r runner.Result) error {
	if r.Exit == 0 || m.Fsck == Preen && r.Exit > 0 && r.Exit < 4 {
		return nil
	}
	repair := "e2fsck -f " + quote(m.Device)
	if m.Type == "xfs" {
		repair = "xfs_repair " + quote(m.Device)
	}
	said := strings.TrimSpace(string(r.Stdout) + "\n" + string(r.Stderr))
	return &CheckError{m.Device, strings.Join(argv, " "), r.Exit, child.Printable(said), repair}
}

// check looks at the file system, as the policy wants it. Nobody has it mounted.
func (x *Mounter) check(ctx context.Context, m Mount) error {
	argv := checkArgv(m)
	if argv == nil {
		return nil
	}
	r, err := x.run.Run(ctx, runner.Command{Argv: argv})
	if err != nil {
		return fmt.Errorf("check %s: %w", m.Device, err)
	}
	return judge(m, argv, r)
}
