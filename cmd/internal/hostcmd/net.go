package hostcmd

import "github.com/spf13/cobra"

func newNet(a *app) *cobra.Command {
	return family(&cobra.Command{
		Use:   "net",
		Short: "Show the guests' networks, and take down what is not in use",
		Long: `Guests hang on bridges. Those declared in kvm.toml are made when the first guest needs one, and stay;
one that was there before is used as it is. Guests' TAPs come and go with them.`,
		Example: `  kvmctl net show
  kvmctl net down br0`,
	}, newNetShow(a), newNetDown(a))
}
