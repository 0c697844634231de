package hostcmd

import (
	"os"
	"os/user"
	"regexp"
	"strconv"
	"sync"

	"kvmctl/cmd/internal/cli"
)

// whoami names the person for the history: behind sudo, the one who typed it.
func whoami(env *cli.Env) string {
	if s := unattended(env); s != "" {
		return s
	}
	if name := env.Get("SUDO_USER"); name != "" {
		return name
	}
	if os.Getuid() == 0 {
		return "root" // no need to search the accounts
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

// starterName is what KVMCTL_BY may say: it goes into the history and on terminals.
var starterName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9/._@-]{1,60}$`) })

// unattended is what our units and init script call themselves in KVMCTL_BY; empty when a person typed the command.
func unattended(env *cli.Env) string {
	name := env.Get("KVMCTL_BY")
	if name == "" || !starterName().MatchString(name) {
		return ""
	}
	return name
}
