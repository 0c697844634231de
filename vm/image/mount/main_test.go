package mount_test

import (
	"testing"

	"kvmctl/vm/vmtest"
)

func TestMain(m *testing.M) { vmtest.Main(m) }
