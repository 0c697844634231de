package agentcmd

import (
	"github.com/spf13/cobra"

	"kvmctl/internal/version"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print which version this is",
		Long:    "Print which version this is. --version does the same.",
		Example: "  kvmha version",
		Args:    args(cobra.NoArgs),
		Run:     func(*cobra.Command, []string) { a.env.Print("kvmha %s\n", version.Version) },
	}
}
