package e2e

import (
	"testing"

	"kvmctl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.MainE2E(m) }
