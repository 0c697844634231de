// Package storage plays what befalls two nodes with a DRBD resource, on two guests with a kernel of their own. Those of its tests that every change has to
// pass are in test/drbdlab.
package storage

import (
	"testing"

	"kvmctl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.MainE2E(m) }
