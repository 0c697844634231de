//go:build linux

package arbiter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestKeepSetsAside: a record of files beside an etcd would be an old one if the etcd were left again.
func TestKeepSetsAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	at := EtcdAt{Endpoints: []string{"http://127.0.0.1:1"}, Prefix: EtcdPrefix}
	if k, err := Keep(t.Context(), dir, []Group{pair}, at); err != nil { // no directory yet
		t.Fatal(err)
	} else {
		k.Close()
	}
	s := open(t, dir, pair)
	if _, err := s.Create(t.Context(), "web", "a", 3, false); err != nil {
		t.Fatal(err)
	}
	k, err := Keep(t.Context(), dir, []Group{pair}, at)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if r, err := k.Look(t.Context(), "web"); outcome(r, err) != "unknown" {
		t.Errorf("with an etcd that is off: %s: %v", outcome(r, err), err)
	}
	back, err := Keep(t.Context(), dir, []Group{pair}, EtcdAt{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := back.AskFrom(t.Context(), "b", Request{"web", "b", 4, id(1)}); outcome(r, err) != "refused: missing" {
		t.Errorf("back in files: %s: %v", outcome(r, err), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "web.json"+aside)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "x", "/x", "x/", "/a b/", "/\n/"} {
		if err := ValidPrefix(bad); !errors.Is(err, ErrPrefix) {
			t.Errorf("prefix %q: %v", bad, err)
		}
	}
	if err := ValidPrefix("/office/kvm-ha_1.x/"); err != nil {
		t.Error(err)
	}
}
