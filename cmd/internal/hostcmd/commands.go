package hostcmd

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// command is one of kvmctl's, before it is made.
type command struct {
	name  string
	group string
	make  func(*app) *cobra.Command
}

// commands are all of them, in the order of the help.
var commands = []command{
	{"create", groupGuests, newCreate}, {"check", groupGuests, newCheck}, {"list", groupGuests, newList}, {"show", groupGuests, newShow},
	{"start", groupGuests, newStart}, {"stop", groupGuests, newStop}, {"restart", groupGuests, newRestart}, {"status", groupGuests, newStatus},
	{"ended", groupGuests, newEnded}, {"delete", groupGuests, newDelete},
	{"set", groupGuests, newSet}, {"diff", groupGuests, newDiff}, {"upgrade-machine", groupGuests, newUpgradeMachine},
	{"pause", groupGuests, newPause}, {"resume", groupGuests, newResume}, {"reset", groupGuests, newReset}, {"save", groupGuests, newSave},
	{"restore", groupGuests, newRestore}, {"install", groupGuests, newInstall}, {"snapshot", groupGuests, newSnapshot},
	{"fence", groupGuests, newFence}, {"unhold", groupGuests, newUnhold},
	{"events", groupGuests, newEvents}, {"doctor", groupGuests, newDoctor},
	{"monitors", groupScreens, newMonitors}, {"monitor", groupScreens, newMonitor}, {"console", groupScreens, newConsole}, {"vnc", groupScreens, newVNC},
	{"screenshot", groupScreens, newScreenshot}, {"sendkey", groupScreens, newSendkey}, {"exec", groupScreens, newExec}, {"log", groupScreens, newLog},
	{"wait", groupScreens, newWait},
	{"image", groupThings, newImage}, {"net", groupThings, newNet}, {"completion", groupThings, newCompletion},
}

func isCommand(word string) bool {
	return slices.ContainsFunc(commands, func(c command) bool { return c.name == word })
}

// addCommands makes the command that the words of a command line call, or all: to make all of them costs as much as a tenth of a table of 200
// guests. Whatever is about commands, as help and completion, and a word that is none, sees all.
func (a *app) addCommands(root *cobra.Command, words []string) {
	called := calledBy(words)
	if called == "completion" || !isCommand(called) {
		called = ""
	}
	for _, c := range commands {
		if called == "" || c.name == called {
			cmd := c.make(a)
			cmd.GroupID = c.group
			root.AddCommand(cmd)
		}
	}
}

// calledBy gives the first word that is no option of the program's own; "" if that takes more than a look.
func calledBy(words []string) string {
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "--root":
			i++
		case strings.HasPrefix(w, "--root="), w == "-v", w == "--verbose":
		case strings.HasPrefix(w, "-"):
			return ""
		default:
			return w
		}
	}
	return ""
}
