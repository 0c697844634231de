package vm_test

import (
	"os"
	"testing"

	"kvmctl/vm"
)

// helperEnv names what this test binary does when a test starts it again as a kvmctl of its own.
const helperEnv = "KVM_VM_TEST_HELPER"

// helpers are the acts of such a process; what one returns is its exit status.
var helpers = map[string]func() int{}

func TestMain(m *testing.M) {
	if err := vm.SealInheritance(); err != nil { // as kvmctl does: what `go test` holds open is no guest's
		panic(err)
	}
	if act := helpers[os.Getenv(helperEnv)]; act != nil {
		os.Exit(act())
	}
	os.Exit(m.Run())
}
