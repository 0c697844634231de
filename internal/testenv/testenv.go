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
	E2E   Tier = "e2e"   // root, and a whole Debian under QEMU; `make e2e` runs it by KVM_TEST_TIERS=e2e
)

// Need skips t unless the tier was asked for, this is root, and every program is installed.
func Need(t testing.TB, tier Tier, programs ...string) {
	t.Helper()
	switch tiers := os.Getenv("KVM_TEST_TIERS"); {
	case tier == E2E && tiers != "e2e":
		skip(t, "tier e2e runs under `make e2e` (KVM_TEST_TIERS=e2e), in packages whose TestMain is MainE2E")
	case tier != E2E && tiers != "all":
		skip(t, "tier "+string(tier)+" runs under `make test` (KVM_TEST_TIERS=all)")
	}
	if os.Getuid() != 0 {
		skip(t, "needs root")
	}
	if tier == QEMU || tier == E2E {
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

// MainE2E is the TestMain of a package whose tests are all of the tier E2E. They take minutes each, so they are not among the tests of
// any other run, not even as skipped ones.
func MainE2E(m *testing.M) {
	if os.Getenv("KVM_TEST_TIERS") != "e2e" {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Cannot skips t because of what no installation can change: a machine, mostly a container, whose kernel does not let a test do what it must.
// It stays a skip under KVM_TEST_STRICT; what is skipped so has a test on a model beside it.
func Cannot(t testing.TB, why string) {
	t.Helper()
	t.Skip("this machine cannot: " + why)
}
