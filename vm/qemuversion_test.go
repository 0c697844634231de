package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatQEMUSaysOfItsVersion(t *testing.T) {
	for _, tt := range []struct{ text, version, err string }{
		{"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022 Fabrice Bellard\n", "7.2.22", ""},
		{"QEMU emulator version 10.0.2 (qemu-10.0.2-1.fc43)\n", "10.0.2", ""},
		{"QEMU emulator version 9.1.50 (v9.1.0-1234-gabc-dirty)\n", "9.1.50", ""},
		{"", "", `its -version says ""`},
		{"QEMU emulator version 7.2\n", "", `its -version says "QEMU emulator version 7.2\n"`},
		{"version 99999.1.2", "", `its -version says "version 99999.1.2"`},
		{strings.Repeat("a", 100), "", `its -version says "` + strings.Repeat("a", 60) + `"`},
	} {
		var v QEMUVersion
		var err error
		v.Major, v.Minor, v.Micro, err = parseVersion(tt.text)
		if err == nil && v.String() != tt.version || errText(err) != tt.err {
			t.Errorf("%q: %v, %v", tt.text, v, err)
		}
	}
}

func TestMachinesOfAVersion(t *testing.T) {
	v := QEMUVersion{Major: 9, Minor: 1, Micro: 3}
	for kind, want := range map[string]string{"q35": "pc-q35-9.1", "pc": "pc-i440fx-9.1", "pc-q35-2.9": "pc-q35-2.9"} {
		if got := v.Machine(kind); got != want {
			t.Errorf("%s: %s", kind, got)
		}
	}
}

// program writes a shell script that stands in for QEMU's binary.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheVersionIsAskedOnceForEachBinary(t *testing.T) {
	dir := t.TempDir()
	cache, asked := filepath.Join(dir, "qemu.json"), filepath.Join(dir, "asked")
	say := func(v string) string { return "echo x >>" + asked + "; echo QEMU emulator version " + v + "\n" }
	path := program(t, say("7.2.1"))
	want := func(version string, times int) {
		t.Helper()
		v, err := FindQEMU(t.Context(), path, cache)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(asked)
		if err != nil {
			t.Fatal(err)
		}
		if v.String() != version || len(b) != 2*times {
			t.Errorf("%v, asked %d times; want %s, %d", v, len(b)/2, version, times)
		}
	}
	want("7.2.1", 1)
	want("7.2.1", 1)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+say("8.0.0")), 0o755); err != nil { // the same size
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	want("8.0.0", 2)
	if err := os.WriteFile(cache, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("8.0.0", 3)
	want("8.0.0", 3)
	// A cache that cannot be kept is no error.
	if _, err := FindQEMU(t.Context(), path, filepath.Join(dir, "none", "qemu.json")); err != nil {
		t.Error(err)
	}
}

func TestABinaryThatIsNoQEMU(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"fails", "echo it is broken >&2; exit 3", "its -version ended with 3: it is broken"},
		{"says something else", "echo hello", `its -version says "hello\n"`},
		{"talks without end", "yes", "context deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := program(t, tt.script)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := FindQEMU(ctx, path, filepath.Join(t.TempDir(), "c"))
			var none *NoQEMUError
			if !errors.As(err, &none) || none.Path != path || !strings.HasPrefix(err.Error(), "no usable QEMU at "+path+": ") || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "none")
	_, err := FindQEMU(t.Context(), path, path+".json")
	if want := "no usable QEMU at " + path + ": stat " + path + ": no such file or directory"; errText(err) != want || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
