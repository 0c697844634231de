package main

import (
	"os"
	"runtime"
	"testing"
)

// asAgent, in the environment, makes the test binary kvmha itself.
const asAgent = "KVMHA_TEST_AGENT"

// The first thread stays with TestMain: a namespace of a test's must not become the process's.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) == "1" {
		runtime.UnlockOSThread()
		main()
	}
	os.Exit(m.Run())
}
