package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDependsGivesTheFirstOfEachClause(t *testing.T) {
	for field, want := range map[string][]string{
		"libc6 (>= 2.34), libglib2.0-0 (>= 2.63.3), libnuma1 (>= 2.0.11)\n": {"libc6", "libglib2.0-0", "libnuma1"},
		"kmod, initramfs-tools (>= 0.120) | linux-initramfs-tool":           {"kmod", "initramfs-tools"},
		"python3:any, libc6(>= 2), libc6":                                   {"python3", "libc6"},
		"":                                                                  nil,
	} {
		if d := cmp.Diff(want, parseDepends(field)); d != "" {
			t.Errorf("%q (-want +got):\n%s", field, d)
		}
	}
}

func FuzzDepends(f *testing.F) {
	f.Add("a (>= 1) | b, c:any")
	f.Fuzz(func(t *testing.T, field string) {
		for _, name := range parseDepends(field) {
			if name == "" || strings.ContainsAny(name, " ,|(:\n") {
				t.Errorf("name %q out of %q", name, field)
			}
		}
	})
}

func TestOnlyTheWantedFilesOfAPackageAreRead(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "./bin/busybox", Typeflag: tar.TypeReg, Size: 2, Mode: 0o755},
		{Name: "./../../etc/passwd", Typeflag: tar.TypeReg, Size: 2},
		{Name: "./lib/x.so.1", Typeflag: tar.TypeSymlink, Linkname: "x.so.1.2"},
		{Name: "./other", Typeflag: tar.TypeReg, Size: 2},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write([]byte("ok"))
		}
	}
	w.Close()
	got, err := readTar(&b, func(name string) bool { return name != "other" })
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"bin/busybox", "etc/passwd", "lib/x.so.1"}, slices.Sorted(maps.Keys(got))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if got["lib/x.so.1"].link != "x.so.1.2" || string(got["bin/busybox"].data) != "ok" {
		t.Errorf("content: %+v", got)
	}
}

// fakeApt puts an apt-get and an apt-cache first in PATH.
func fakeApt(t *testing.T, get, cache string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range map[string]string{"apt-get": get, "apt-cache": cache} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestErrorsNameTheMissingPackage(t *testing.T) {
	const meta = "echo linux-image-cloud-amd64; echo '  Depends: linux-image-6.1.0-56-cloud-amd64'"
	tests := []struct {
		name, get, cache, pkg, err string
	}{
		{"apt has no lists", "exit 1", "echo 'N: Unable to locate package' >&2; exit 100", "linux-image-cloud-amd64",
			"build guest: debian package linux-image-cloud-amd64: apt-cache: exit status 100: N: Unable to locate package"},
		{"the meta-package names no kernel", "exit 1", "echo x", "linux-image-cloud-amd64",
			"build guest: debian package linux-image-cloud-amd64: depends on no linux-image package"},
		{"no network", "echo 'E: Failed to fetch' >&2; exit 100", meta, "linux-image-6.1.0-56-cloud-amd64",
			"build guest: debian package linux-image-6.1.0-56-cloud-amd64: apt-get: exit status 100: E: Failed to fetch"},
		{"apt-get brings nothing", "exit 0", meta, "linux-image-6.1.0-56-cloud-amd64",
			"build guest: debian package linux-image-6.1.0-56-cloud-amd64: apt-get download left 0 files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fakeApt(t, tt.get, tt.cache)
			_, err := Build(t.Context(), t.TempDir())
			var missing *PackageError
			if !errors.As(err, &missing) || missing.Package != tt.pkg || err.Error() != tt.err {
				t.Fatalf("error %v, want %s", err, tt.err)
			}
			if want := "run `apt-get update` and see whether `apt-get download " + tt.pkg + "` works"; missing.Hint() != want {
				t.Errorf("hint %q, want %q", missing.Hint(), want)
			}
		})
	}
}

func TestBuildWaitsForAnotherBuilderOnlyAsLongAsItMay(t *testing.T) {
	dir := t.TempDir()
	unlock := holdLock(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Build(ctx, dir)
	if want := "build guest: wait for another builder in " + dir + ": locked by another process"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	unlock()
}
