// Command mkdebguest makes the Debian that the e2e tests boot, and prints where its tree is.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"kvmctl/test/debguest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	b, err := debguest.Build(ctx, debguest.DefaultDir())
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkdebguest:", err)
		os.Exit(1)
	}
	fmt.Println(b.Tree)
}
