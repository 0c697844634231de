package peer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretIsSharedByTwoAndForOnePurpose(t *testing.T) {
	a, b, c := identity(t), identity(t), identity(t)
	ab, ba := a.Secret(b.Public(), "heartbeat"), b.Secret(a.Public(), "heartbeat")
	if ab != ba {
		t.Error("two nodes do not agree")
	}
	for name, other := range map[string][32]byte{
		"another purpose": a.Secret(b.Public(), "other"), "another node": a.Secret(c.Public(), "heartbeat"), "nobody": a.Secret(PublicKey{}, "heartbeat"),
	} {
		if other == ab {
			t.Errorf("%s: the same secret", name)
		}
	}
	if once, again := a.Secret(PublicKey{}, "heartbeat"), a.Secret(PublicKey{}, "heartbeat"); once == again {
		t.Error("a key of low order gives a secret that somebody could know")
	}
}

func TestIdentityIsKeptAndNeverShown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	if _, err := LoadIdentity(dir); err == nil {
		t.Fatal("an identity out of nothing")
	} else if _, ok := errors.AsType[*NoIdentityError](err); !ok {
		t.Fatalf("got %v", err)
	}
	id, err := CreateIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := CreateIdentity(dir)
	if err != nil || again.Public() != id.Public() {
		t.Fatalf("it is another one the second time: %v", err)
	}
	path := filepath.Join(dir, "identity")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(strings.TrimPrefix(string(text), secretPrefix))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if shown := fmt.Sprintf(format, id); strings.Contains(shown, secret) || !strings.Contains(shown, id.Public().String()) {
			t.Errorf("%s shows %q", format, shown)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); !errors.Is(err, ErrExposed) {
		t.Errorf("a key that a group may read: got %v", err)
	}
	if err := os.WriteFile(path, []byte(secretPrefix+"short"+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); !errors.Is(err, ErrBadKey) || strings.Contains(err.Error(), "short") {
		t.Errorf("a broken key: got %v", err)
	}
}

func TestPinsAreKeptAndForgotten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	p := Pin{Key: identity(t).Public(), Next: identity(t).Public()}
	if err := SavePin(dir, "varda2", p); err != nil {
		t.Fatal(err)
	}
	if got, err := LoadPin(dir, "varda2"); err != nil || got != p {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := Pinned(dir); err != nil || len(got) != 1 || got[0] != "varda2" {
		t.Errorf("got %v, %v", got, err)
	}
	for want := range 2 {
		if was, err := Forget(dir, "varda2"); err != nil || was != (want == 0) {
			t.Errorf("got %v, %v", was, err)
		}
	}
	for _, name := range []string{"", "../identity", "a/b", ".x", strings.Repeat("x", 64)} {
		if err := SavePin(dir, name, p); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add("kvmha1:")
	f.Add("")
	f.Add(keyPrefix + base64.RawStdEncoding.EncodeToString(make([]byte, 64))) // a point of low order
	id, err := newIdentity(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id.Public().String())
	f.Add(id.Public().String() + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParsePublicKey(text)
		if err != nil {
			if !errors.Is(err, ErrBadKey) || !k.IsZero() {
				t.Errorf("got %v, %v", k, err)
			}
			return
		}
		if k.String() != text {
			t.Errorf("%q comes back as %q", text, k)
		}
	})
}
