// Package testenv is the one place where a test may be skipped: each skip says what is missing, and KVM_TEST_STRICT=1 turns it into a failure.
package testenv

import (
	"os"
	"os/exec"
	"testing"
)

// Tier names a class of tests by what it needs (ARCHITECTURE.md: "Tests"). Pure tests need no call.
type Tier string

// The tiers beyond pure tests. `make test` runs them all by KVM_TEST_TIERS=all.
const (
	Netns Tier = "netns" // root, and network namespaces of the test's own
	QEMU  Tier = "qemu"  // root, a real QEMU under tcg
)

// Need skips t unless the tier was asked for, this is root, and every program is installed.
func Need(t testing.TB, tier Tier, programs ...string) {
	t.Helper()
	if os.Getenv("KVM_TEST_TIERS") != "all" {
		skip(t, "tier "+string(tier)+" runs under `make test` (KVM_TEST_TIERS=all)")
	}
	if os.Getuid() != 0 {
		skip(t, "needs root")
	}
	if tier == QEMU {
		programs = append(programs, "qemu-system-x86_64", "qemu-img")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			skip(t, p+" is not installed: run `make deps`")
		}
	}
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("KVM_TEST_STRICT") == "1" {
		t.Fatalf("strict: would skip: %s", why)
	}
	t.Skip(why)
}
