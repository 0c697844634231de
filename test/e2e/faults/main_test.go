// Package faults has things go wrong in two guests with real DRBD, one after the other: programs and modules that are missing, disks that are bad or full,
// settings that differ, somebody in the way. Each shows what the user is told, and that the pair goes on when the cause is gone (docs/faults.md).
package faults

import (
	"testing"

	"kvmctl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.MainE2E(m) }
