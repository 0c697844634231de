package hostcmd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kvmctl/configs"
	"kvmctl/vm"
)

// manyGuests makes a root with n guests, each with a qcow2 image whose header is all there is of it.
func manyGuests(tb testing.TB, n int) *configs.Site {
	tb.Helper()
	root := tb.TempDir()
	header := make([]byte, 512)
	copy(header, "QFI\xfb\x00\x00\x00\x03") // docs/interop/qcow2.txt: magic, version 3
	header[23] = 16                         // cluster bits
	header[31] = 1                          // size
	header[103] = 104                       // header length
	for i := range n {
		l := vm.Layout{Root: root}
		name := fmt.Sprintf("vm%03d", i)
		for path, text := range map[string][]byte{
			l.GuestToml(name): []byte("[[disk]]\nimage = \"disk.qcow2\"\n"), filepath.Join(l.GuestLibDir(name), "disk.qcow2"): header,
		} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				tb.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o644); err != nil {
				tb.Fatal(err)
			}
		}
	}
	s, err := configs.Load(tb.Context(), root)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func BenchmarkNotUnderneathOf200(b *testing.B) {
	s := manyGuests(b, 200)
	spec := &s.Guests[7].Spec
	for b.Loop() {
		if err := notUnderneath(backedUses(b.Context(), s), spec); err != nil {
			b.Fatal(err)
		}
	}
}
