package unit_test

import (
	"runtime"
	"testing"

	"go.uber.org/goleak"

	"kvmctl/internal/child"
)

// The first thread stays with TestMain: a program's umask is set on a thread that ends with it, which the first one cannot.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if err := child.CloseInherited(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
