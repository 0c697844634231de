// Command kvmctl creates, starts, shows and stops KVM guests on this host.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"kvmctl/cmd/internal/cli"
	"kvmctl/cmd/internal/hostcmd"
	"kvmctl/vm"
)

func main() {
	os.Exit(run(cli.OSEnv("kvmctl")))
}

func run(env *cli.Env) int {
	if err := vm.SealInheritance(); err != nil {
		return env.Report(fmt.Errorf("cannot begin: %w", err))
	}
	unix.Umask(0o077)
	debug.SetGCPercent(400) // most commands are over before 16 MiB are allocated
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	return hostcmd.Main(ctx, env)
}
