package main

import (
	"flag"
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
	if os.Getenv(asAsker) != "" {
		askArbiter()
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // labs wait most of the time
		panic(err)
	}
	os.Exit(m.Run())
}
