package peer

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAKeyringThatIsReadAgainKeepsItsIdentityUntilTheKeyChanges(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, d := range []string{dir, other} {
		if _, err := CreateIdentity(d); err != nil {
			t.Fatal(err)
		}
	}
	first, err := ReadKeyring(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := first.Reread(dir, nil)
	if err != nil || again.Identity != first.Identity {
		t.Errorf("the same file gives another identity, %v", err)
	}
	text, err := os.ReadFile(filepath.Join(other, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, identityFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	changed, err := again.Reread(dir, nil)
	if want, e := LoadIdentity(other); err != nil || e != nil || changed.Identity.Public() != want.Public() || !changed.Identity.sign.Equal(want.sign) {
		t.Errorf("a new key is not taken: %v %v", err, e)
	}
	if err := os.WriteFile(filepath.Join(dir, identityFile), []byte("spoilt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if spoilt, err := changed.Reread(dir, nil); err == nil || spoilt.Identity != nil {
		t.Errorf("a spoilt file leaves %v, %v", spoilt.Identity, err)
	}
}

func BenchmarkReadKeyring(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "a")
	if _, err := CreateIdentity(dir); err != nil {
		b.Fatal(err)
	}
	ring, err := ReadKeyring(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if _, err := ReadKeyring(dir, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if _, err := ring.Reread(dir, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
