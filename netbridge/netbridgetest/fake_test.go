package netbridgetest_test

import (
	"testing"

	"kvmctl/netbridge/netbridgetest"
)

func TestTheModelKeepsTheContract(t *testing.T) {
	t.Parallel()
	netbridgetest.RunContract(t, func(*testing.T) netbridgetest.World { return netbridgetest.NewFake() })
}
