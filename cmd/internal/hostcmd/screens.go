package hostcmd

import "github.com/spf13/cobra"

// screenCommands are those that show or talk to a running guest.
func (a *app) screenCommands() []*cobra.Command { return nil }
