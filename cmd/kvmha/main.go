// Command kvmha shares addresses with another node by CARP and runs what belongs to them, on exactly one of the two.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"kvmctl/cmd/internal/agentcmd"
	"kvmctl/cmd/internal/cli"
	"kvmctl/internal/child"
)

func main() { os.Exit(run()) }

// run leaves SIGHUP and SIGUSR2 to the daemon, which reloads and restarts itself by them.
func run() int {
	env := cli.OSEnv("kvmha")
	// What whoever started us left open must not get into units and hooks.
	if err := child.CloseInherited(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return env.Report(fmt.Errorf("cannot begin: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return agentcmd.Main(ctx, env)
}
