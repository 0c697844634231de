package seed

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

func TestUserDataHasToBeginRight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ data, want string }{
		{"#cloud-config\nusers: []\n", ""},
		{"#cloud-config\r\n", ""},
		{"#cloud-config", ""},
		{"#!/bin/sh\n", ""},
		{"## template: jinja\n#cloud-config\n", ""},
		{"Content-Type: multipart/mixed; boundary=x\n", ""},
		{"", "user-data is empty"},
		{"users: []\n", `user-data begins with "users: []": a guest would pass it over without a word`},
		{"#cloud-configs\n", `user-data begins with "#cloud-configs": a guest would pass it over without a word`},
		{" #cloud-config\n", `user-data begins with " #cloud-config": a guest would pass it over without a word`},
		{"\ufeff#cloud-config\n", `user-data begins with "\ufeff#cloud-config": a guest would pass it over without a word`},
		{"#cloud-config\n\x00", "user-data is not a text: it holds a zero byte"},
		{"#cloud-config\n" + strings.Repeat("x", maxData), "user-data has 1048590 bytes, and at most 1048576 are read"},
	} {
		got := ""
		if err := (&Seed{UserData: []byte(tt.data)}).Check(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%.40q: got %q, want %q", tt.data, got, tt.want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("#cloud-config\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := (&Seed{UserData: b}).Check()
		if err == nil && !strings.HasPrefix(string(b), "#") && !strings.HasPrefix(string(b), "Content-Type") {
			t.Fatalf("%q", b)
		}
	})
}

func TestASeedIsReadBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seed.iso")
	s := &Seed{UserData: []byte("#cloud-config\npassword: mellon\n"), NetworkConfig: []byte("version: 2\n")}
	s.MetaData = DefaultMetaData("vm-olorin", s)
	if want := "instance-id: vm-olorin-2a920a26a5d5\nlocal-hostname: vm-olorin\n"; string(s.MetaData) != want {
		t.Errorf("%q", s.MetaData)
	}
	for range 2 { // the second replaces the first
		if err := Write(path, s); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	iso, err := iso9660.Read(file.New(f, true), 0, 0, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimRight(iso.Label(), "\x00 "); got != Label {
		t.Errorf("label %q", got)
	}
	for name, want := range s.files() {
		got, err := iso.ReadFile(name)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if blkid, err := exec.LookPath("blkid"); err == nil { // another's reader, where there is one
		out, err := exec.Command(blkid, "-p", "-o", "value", "-s", "LABEL", path).Output()
		if err != nil || strings.TrimSpace(string(out)) != Label {
			t.Errorf("blkid: %q, %v", out, err)
		}
	}
	if err := Write(path, &Seed{UserData: []byte("no")}); !errors.As(err, new(*HeaderError)) {
		t.Errorf("%v", err)
	}
}
