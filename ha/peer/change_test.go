package peer

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kvmctl/internal/flock"
)

// The holder of a key that is taken back may ask for another one as often as it likes: the key stays forgotten.
func TestAForgottenKeyDoesNotComeBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "peer")
	a, next, own := identity(t), identity(t), identity(t)
	body, err := json.Marshal(rekey{next.public, ed25519.Sign(next.sign, rekeyDigest(next.public, own.public))})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := SavePin(dir, "a", Pin{Key: a.public}); err != nil {
			t.Fatal(err)
		}
		asked := make(chan error)
		go func() { asked <- AcceptRekey(dir, own.public, Node{Name: "a", Key: a.public}, body) }()
		if was, err := Forget(dir, "a"); err != nil || !was {
			t.Error(was, err)
		}
		err := <-asked
		if _, none := errors.AsType[*NotPairedError](err); err != nil && !none {
			t.Fatal(err)
		}
		if names, err := Pinned(dir); err != nil || len(names) != 0 {
			t.Fatalf("forgotten, and yet there: %v, %v", names, err)
		}
	}
}

// A program that was killed while it kept a key has left it under another name.
func TestNoCopyOfAKeyIsLeft(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".tmp-123"), []byte(secretPrefix), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateIdentity(dir); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != 2 || all[0].Name() != identityFile || all[1].Name() != changeLock {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestOneRotationAtATime(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateIdentity(dir); err != nil {
		t.Fatal(err)
	}
	l, err := flock.TryLock(filepath.Join(dir, rotateLock))
	if err != nil {
		t.Fatal(err)
	}
	if err := Rotate(t.Context(), dir, "", nil); !errors.Is(err, ErrRotating) {
		t.Error(err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := Rotate(t.Context(), dir, "", nil); err != nil {
		t.Error(err)
	}
}
