package main

import (
	"flag"
	"os"
	"runtime"
	"strings"
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
	// With -race each program sleeps for a second when it ends, for reports that are late; a kvmha of a test tells its own at once.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // labs wait most of the time
		panic(err)
	}
	os.Exit(m.Run())
}
