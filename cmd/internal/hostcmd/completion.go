package hostcmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
)

func newCompletion(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete commands and guests' names",
		Long: `Print a script that makes the shell complete kvmctl's commands, flags and guests' names.

bash (with the package bash-completion), for everyone:
  kvmctl completion bash > /etc/bash_completion.d/kvmctl
zsh, for everyone; then begin a new shell:
  kvmctl completion zsh > /usr/local/share/zsh/site-functions/_kvmctl
fish, for oneself:
  kvmctl completion fish > ~/.config/fish/completions/kvmctl.fish
Only for this shell:
  source <(kvmctl completion bash)`,
		Example:   "  kvmctl completion bash > /etc/bash_completion.d/kvmctl",
		Args:      args(cobra.ExactArgs(1)),
		ValidArgs: shells,
		RunE:      func(cmd *cobra.Command, names []string) error { return writeCompletion(a.env, cmd.Root(), names[0]) },
	}
}

func writeCompletion(env *cli.Env, root *cobra.Command, shell string) (err error) {
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(env.Out, true)
	case "zsh":
		err = root.GenZshCompletion(env.Out)
	case "fish":
		err = root.GenFishCompletion(env.Out, true)
	default:
		return cli.Usage("kvmctl completion bash|zsh|fish", "cannot complete for %q: no such shell here", shell)
	}
	if err != nil {
		return fmt.Errorf("cannot write the completion: %w", err)
	}
	return nil
}
