package smallfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kvmctl/internal/smallfile"
)

func TestAFileUpToTheLimitIsReadWhole(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 8192, 10000} {
		path := filepath.Join(t.TempDir(), "f")
		want := bytes.Repeat([]byte("x"), size)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, limit := range []int{size, size + 1, 1 << 20} {
			if got, err := smallfile.Read(path, limit); err != nil || !bytes.Equal(got, want) {
				t.Errorf("size %d, limit %d: %d bytes, %v", size, limit, len(got), err)
			}
		}
		if size == 0 {
			continue
		}
		if got, err := smallfile.Read(path, size-1); !errors.Is(err, smallfile.ErrTooLong) || got != nil {
			t.Errorf("size %d, limit %d: %d bytes, %v; want ErrTooLong", size, size-1, len(got), err)
		}
	}
}

func TestAPlantedLinkOrFIFOIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := smallfile.Read(filepath.Join(dir, "link"), 100); !errors.Is(err, unix.ELOOP) {
		t.Errorf("symbolic link: %v, want ELOOP", err)
	}
	if got, err := smallfile.Read(filepath.Join(dir, "fifo"), 100); len(got) != 0 { // no writer: an end of file at once
		t.Errorf("FIFO: %q, %v", got, err)
	}
	if _, err := smallfile.Read(filepath.Join(dir, "none"), 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v, want fs.ErrNotExist", err)
	}
}

func TestAFileOfProcIsRead(t *testing.T) {
	got, err := smallfile.Read("/proc/self/status", 1<<16)
	if err != nil || !bytes.HasPrefix(got, []byte("Name:")) {
		t.Errorf("%.40q, %v", got, err)
	}
}
