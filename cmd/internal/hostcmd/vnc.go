package hostcmd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
)

type vncOptions struct {
	name  string
	print bool
}

func newVNC(a *app) *cobra.Command {
	var o vncOptions
	cmd := &cobra.Command{
		Use:   "vnc <vm> [--print]",
		Short: "Show a guest's screen",
		Long: `Print where a guest's screen is, and show it if this is a desktop: with $DISPLAY or $WAYLAND_DISPLAY
set, the first of remote-viewer, gvncviewer and vncviewer that is installed is started, and kvmctl
returns when it is closed. Elsewhere kvmctl says how to reach the screen from a desktop.

--print prints address:port and nothing else; of a screen on a unix socket (socket = true under [vnc])
its path. TLS and a password are the viewer's to ask for: a viewer needs the CA's certificate that
belongs to the guest's.`,
		Example: `  kvmctl vnc vm-olorin
  kvmctl vnc vm-olorin --print`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeGuest,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			return a.runVNC(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.print, "print", false, "print address:port, or the socket's path, only")
	return cmd
}

func (a *app) runVNC(ctx context.Context, o vncOptions) error {
	g, err := a.meet(ctx, o.name, "vnc", showScreen)
	if err != nil {
		return err
	}
	if g.VNC == "" {
		return cli.Failed("kvmctl screenshot "+o.name+" screen.png; [vnc] in its vm.toml gives it a display at the next start",
			"cannot %s %s: it runs without VNC", showScreen, o.name)
	}
	if o.print {
		a.env.Print("%s\n", strings.TrimPrefix(g.VNC, "unix:"))
		return nil
	}
	if path, ok := strings.CutPrefix(g.VNC, "unix:"); ok {
		return a.showSocket(ctx, o.name, path)
	}
	at, err := netip.ParseAddrPort(g.VNC)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", showScreen, o.name, err)
	}
	a.env.Print("%s (display %s)\n", g.VNC, display(g.VNC))
	if !a.onDesktop() {
		a.sayTunnel(at)
		return nil
	}
	argv := viewer(at, a.findProgram)
	if argv == nil {
		a.env.Talk("no viewer is installed here; try: apt-get install virt-viewer")
		a.sayTunnel(at)
		return nil
	}
	return a.runViewer(ctx, o.name, argv)
}

const showScreen = "show the screen of"

func (a *app) onDesktop() bool {
	return a.env.Get("DISPLAY") != "" || a.env.Get("WAYLAND_DISPLAY") != ""
}

// showSocket is for a screen on a unix socket, which TigerVNC's viewer opens by its path; all others need a tunnel.
func (a *app) showSocket(ctx context.Context, name, path string) error {
	a.env.Print("%s\n", path)
	if program := a.findProgram("xtigervncviewer"); program != "" && a.onDesktop() {
		return a.runViewer(ctx, name, []string{program, path})
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this-host"
	}
	a.env.Talk("from your desktop: ssh -N -L 5900:%s root@%s, then: remote-viewer vnc://127.0.0.1:5900", path, host)
	return nil
}

func (a *app) runViewer(ctx context.Context, name string, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = a.env.Err, a.env.Err // talk
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		return cli.Failed("kvmctl vnc "+name+" --print", "cannot %s %s: %s: %w", showScreen, name, filepath.Base(argv[0]), err)
	}
	return nil
}

// local is the address by which this machine reaches a display: one that listens everywhere is here, too.
func local(at netip.AddrPort) netip.AddrPort {
	switch at.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), at.Port())
	}
	return at
}

// viewer gives the command line of the first viewer that find knows; nil: there is none.
func viewer(at netip.AddrPort, find func(string) string) []string {
	at = local(at)
	host := at.Addr().String()
	if at.Addr().Is6() {
		host = "[" + host + "]"
	}
	if path := find("remote-viewer"); path != "" {
		return []string{path, "vnc://" + at.String()}
	}
	if path := find("gvncviewer"); path != "" && at.Port() >= 5900 {
		return []string{path, host + ":" + strconv.Itoa(int(at.Port())-5900)}
	}
	if path := find("vncviewer"); path != "" {
		return []string{path, host + "::" + strconv.Itoa(int(at.Port()))}
	}
	return nil
}

// findProgram looks in $PATH.
func (a *app) findProgram(name string) string {
	for _, dir := range filepath.SplitList(a.env.Get("PATH")) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); filepath.IsAbs(path) && err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// sayTunnel tells how to see the screen from elsewhere.
func (a *app) sayTunnel(at netip.AddrPort) {
	host, err := os.Hostname()
	if err != nil {
		host = "this-host"
	}
	a.env.Talk("%s", tunnel(at, whoami(a.env), host))
}

// tunnel words it: a display on loopback needs a way through ssh, another one may be reached directly.
func tunnel(at netip.AddrPort, user, host string) string {
	port := strconv.Itoa(int(at.Port()))
	if !at.Addr().IsLoopback() && !at.Addr().IsUnspecified() {
		return "from your desktop: remote-viewer vnc://" + at.String()
	}
	there := net.JoinHostPort(local(at).Addr().String(), port)
	return fmt.Sprintf("from your desktop: ssh -N -L %s:%s %s@%s, then: remote-viewer vnc://127.0.0.1:%s", port, there, user, host, port)
}
