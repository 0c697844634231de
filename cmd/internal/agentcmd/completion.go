package agentcmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
)

func newCompletion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what makes a shell complete commands and groups",
		Long: `Print a script that makes the shell complete kvmha's commands, flags and groups' names.

bash (with the package bash-completion), for everyone:
  kvmha completion bash > /etc/bash_completion.d/kvmha
zsh, for everyone; then begin a new shell:
  kvmha completion zsh > /usr/local/share/zsh/site-functions/_kvmha
fish, for oneself:
  kvmha completion fish > ~/.config/fish/completions/kvmha.fish
Only for this shell:
  source <(kvmha completion bash)`,
		Example:   "  kvmha completion bash > /etc/bash_completion.d/kvmha",
		Args:      args(cobra.ExactArgs(1)),
		ValidArgs: []string{"bash", "zsh", "fish"},
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
		return cli.Usage("kvmha completion bash|zsh|fish", "cannot complete for %q: no such shell here", shell)
	}
	if err != nil {
		return fmt.Errorf("cannot write the completion: %w", err)
	}
	return nil
}
