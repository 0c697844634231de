// Package samba is the seed's varda whole: two Debians with systemd, Samba and slapd on a DRBD, set up by the commands of the manual, and a power cut.
package samba

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/internal/testenv"
	"kvmctl/test/apart"
	"kvmctl/test/debguest"
)

// packages are what varda has beside the Debian of the other tests.
var packages = []string{"samba", "slapd", "drbd-utils"}

// The guests, the bridges and the client's programs are in namespaces of their own; what needs the network is made before.
func TestMain(m *testing.M) {
	apart.Init(nil)
	if os.Getenv("KVM_TEST_TIERS") != "e2e" || os.Args[0] == "inside" {
		testenv.MainE2E(m)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	code, err := 1, error(nil)
	if _, err = debguest.Build(ctx, debguest.DefaultDir(), packages...); err == nil {
		code, err = apart.Run(ctx, os.Args[1:]...)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}
