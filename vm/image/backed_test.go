package image

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWhatMayBeBasedOnAnother(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		text string // in hex
		want bool
	}{
		"raw":            {"00112233445566778899aabbccddeeff", false},
		"empty":          {"", false},
		"alone":          {"514649fb000000030000000000000000", false},
		"based":          {"514649fb000000030000000000000130", true},
		"based, old":     {"514649fb000000010000000000000030", true},
		"cut short":      {"514649fb00000003", true},
		"another's data": {"4b444d5600000001ffffffffffffffff", false},
	} {
		text, err := hex.DecodeString(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Backed(path); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if !Backed(fifo) || !Backed(dir) || Backed(filepath.Join(dir, "nothing")) {
		t.Error("what cannot be read may be based on something, what is not there is not")
	}
}
