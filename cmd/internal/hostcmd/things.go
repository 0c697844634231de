package hostcmd

import "github.com/spf13/cobra"

// thingCommands are those for images, networks and this program.
func (a *app) thingCommands() []*cobra.Command { return nil }
