package salvage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func disk(t *testing.T, size int) (string, []byte) {
	t.Helper()
	data := make([]byte, size)
	if _, err := rand.Read(data[:page]); err != nil {
		t.Fatal(err)
	}
	copy(data[size-100:], "the end")
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, data
}

func note(id, where, device string, size int) Kept {
	return Kept{ID: id, Resource: "r0", Group: "varda", Node: "varda2", Survivor: "vm-varda", At: time.Unix(1e9, 0).UTC(), Where: where,
		Images: []Image{{Device: device, File: "volume-0.img", Size: uint64(size)}}}
}

// A disk is kept as it is, with holes, where it was asked for; and is listed and removed again.
func TestKeep(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "split-brain")
		const size = 5<<20 + 512
		device, data := disk(t, size)
		id := NewID(time.Now(), "r0")
		where := filepath.Join(dir, id)
		if elsewhere {
			where = filepath.Join(t.TempDir(), "usb", id)
		}
		k := note(id, where, device, size)
		var said uint64
		if err := Keep(t.Context(), dir, k, func(n uint64) { said = n }); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(k.Path(k.Images[0]))
		if err != nil || !bytes.Equal(got, data) || said != size {
			t.Errorf("the image differs: %v, %d of %d bytes read", err, said, size)
		}
		info, err := os.Stat(k.Path(k.Images[0]))
		if err != nil || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Blocks*512 > 1<<20 {
			t.Errorf("%v, %v", info, err)
		}
		all, err := List(dir)
		if err != nil || len(all) != 1 || all[0].ID != id || all[0].Images[0] != k.Images[0] {
			t.Errorf("%+v, %v", all, err)
		}
		if err := Remove(dir, id); err != nil {
			t.Fatal(err)
		}
		if all, err := List(dir); len(all) != 0 || err != nil {
			t.Errorf("%v, %v", all, err)
		}
		if _, err := os.Stat(k.Path(k.Images[0])); err == nil {
			t.Error("the image is left")
		}
	}
}

// What is not whole leaves nothing behind that could be taken for it.
func TestKeepThatFails(t *testing.T) {
	dir := t.TempDir()
	device, _ := disk(t, 2<<20)
	id := NewID(time.Now(), "r0")
	if err := Keep(t.Context(), dir, note(id, filepath.Join(dir, id), device, 3<<20), func(uint64) {}); err == nil {
		t.Error("a disk that is shorter than it was said to be is kept")
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Keep(stopped, dir, note(id, filepath.Join(dir, id), device, 2<<20), func(uint64) {}); err == nil {
		t.Error("it goes on after its end")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestNamesAndNotesOfOthers(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"", "..", "../etc", "20260101-000000-", "x", "20260101-000000-a/b"} {
		if _, err := Read(dir, id); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", id, err)
		}
	}
	const id = "20260101-000000-r0"
	if _, err := Read(dir, id); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	for _, text := range []string{"", "{", `{"id":"20260101-000000-r1","where":"/x"}`, `{"id":"20260101-000000-r0","where":"x"}`, `{"id":"20260101-000000-r0","where":"/x","images":[{"file":"../etc/passwd"}]}`} {
		if err := os.MkdirAll(filepath.Join(dir, id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id, noteName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := Read(dir, id); err == nil {
			t.Errorf("%q is read as %+v", text, k)
		}
		if err := Remove(dir, id); err == nil {
			t.Errorf("%q is removed", text)
		}
	}
}
