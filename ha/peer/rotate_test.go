package peer

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
)

// rotating is a node b that keeps its pins in files, as an agent does, and reads them again after each request.
func rotating(t *testing.T, dirA, dirB string) Node {
	t.Helper()
	a, err := CreateIdentity(dirA)
	if err != nil {
		t.Fatal(err)
	}
	b, err := CreateIdentity(dirB)
	if err != nil {
		t.Fatal(err)
	}
	if err := SavePin(dirB, "a", Pin{Key: a.Public()}); err != nil {
		t.Fatal(err)
	}
	want := []Node{{Name: "a", Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}}}
	ring, err := ReadKeyring(dirB, want)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, b, ring.Nodes, func(s *Server) {
		again := func() error {
			ring, err := ReadKeyring(dirB, want)
			s.Use(ring.Identity, ring.Nodes)
			return err
		}
		s.Handle(VerbRekey, func(_ context.Context, from Node, in json.RawMessage) (any, error) {
			err := AcceptRekey(dirB, b.Public(), from, in)
			return nil, errors.Join(err, again())
		})
		s.Handle(VerbReport, func(_ context.Context, from Node, _ json.RawMessage) (any, error) { return nil, Switched(dirB, from) })
	})
}

func TestAKeyIsChangedWithoutLockingAnybodyOut(t *testing.T) {
	dirA, dirB := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	b := rotating(t, dirA, dirB)
	old, err := LoadIdentity(dirA)
	if err != nil {
		t.Fatal(err)
	}
	nobody := Node{Name: "c", Key: identity(t).Public(), Addresses: b.Addresses} // another node is there
	if err := Rotate(t.Context(), dirA, "", []Node{b, nobody}); !errors.Is(err, ErrStranger) {
		t.Fatalf("one of two does not answer: %v", err)
	}
	if id, err := LoadIdentity(dirA); err != nil || id.Public() != old.Public() {
		t.Fatalf("the key was changed although one node does not know the new one: %v", err)
	}
	was, err := LoadPin(dirB, "a")
	if err != nil || was.Key != old.Public() || was.Next.IsZero() {
		t.Fatalf("got %+v, %v", was, err)
	}
	if err := Rotate(t.Context(), dirA, "", []Node{b}); err != nil {
		t.Fatal(err)
	}
	id, err := LoadIdentity(dirA)
	if err != nil || id.Public() != was.Next {
		t.Fatalf("it is not the key that was offered: %v", err)
	}
	for _, key := range []*Identity{old, id} { // both are accepted until the new one is in use
		c := NewClient("", key)
		defer c.Close()
		if err := c.Do(t.Context(), b, VerbReport, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := LoadPin(dirB, "a"); err != nil || p != (Pin{Key: id.Public()}) {
		t.Errorf("got %+v, %v", p, err)
	}
}

// A new key is taken from the old one alone, for the node that it was signed for, and from who has it.
func TestANewKeyHasToBeProved(t *testing.T) {
	dir := t.TempDir()
	a, next, own, other := identity(t), identity(t), identity(t), identity(t)
	if err := SavePin(dir, "a", Pin{Key: a.Public()}); err != nil {
		t.Fatal(err)
	}
	body := func(signer *Identity, to PublicKey) json.RawMessage {
		text, err := json.Marshal(rekey{next.public, ed25519.Sign(signer.sign, rekeyDigest(next.public, to))})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, tt := range map[string]struct {
		from PublicKey
		body json.RawMessage
		want error
	}{
		"signed by the old key":        {a.public, body(a, own.public), &AnswerError{Code: CodeBadRequest}},
		"signed for another node":      {a.public, body(next, other.public), &AnswerError{Code: CodeBadRequest}},
		"from who has not the old one": {other.public, body(next, own.public), ErrRefused},
		"nothing":                      {a.public, nil, &AnswerError{Code: CodeBadRequest}},
	} {
		if err := AcceptRekey(dir, own.public, Node{Name: "a", Key: tt.from}, tt.body); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if p, err := LoadPin(dir, "a"); err != nil || p != (Pin{Key: a.public}) {
		t.Errorf("got %+v, %v", p, err)
	}
	if err := AcceptRekey(dir, own.public, Node{Name: "a", Key: a.public}, body(next, own.public)); err != nil {
		t.Error(err)
	}
}
