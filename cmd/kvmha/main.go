// Command kvmha shares addresses with another node by CARP and runs what belongs to them, on exactly one of the two.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"kvmctl/cmd/internal/agentcmd"
	"kvmctl/cmd/internal/cli"
)

func main() { os.Exit(run()) }

// run leaves SIGHUP and SIGUSR2 to the daemon, which reloads and restarts itself by them.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return agentcmd.Main(ctx, cli.OSEnv("kvmha"))
}
