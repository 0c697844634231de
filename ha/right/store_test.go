package right

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var when = time.Date(2026, 11, 23, 3, 4, 5, 0, time.UTC)

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kvmha", Dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, ".tmp-123")
	if err := os.WriteFile(half, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("what a write left behind is still there")
	}
	if r, err := s.Read("samba"); err != nil || r != (Record{Group: "samba"}) {
		t.Errorf("never written: %v, %v", r, err)
	}
	for _, r := range []Record{
		{Group: "samba", State: Paired, Why: "paired with varda2"},
		{Group: "samba", State: Alone, N: 1, Why: "fence\n0123"},
		{Group: "samba", State: Alone, N: 1}, // again: a retry is no error
		{Group: "samba", State: Paired, N: 1},
		{Group: "samba", State: Paired, N: 7},
	} {
		if err := s.Write(r, when.Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		got, err := s.Read("samba")
		if err != nil || !got.Same(r) || !got.When.Equal(when) || strings.Contains(got.Why, "\n") {
			t.Errorf("wrote %+v, read %+v, %v", r, got, err)
		}
	}
	for _, r := range []Record{
		{Group: "samba", State: Alone, N: 7},
		{Group: "samba", State: Paired, N: 6},
	} {
		if err := s.Write(r, when); !errors.Is(err, ErrBackwards) {
			t.Errorf("%v after paired (7): %v", r, err)
		}
	}
	for _, r := range []Record{
		{Group: "../samba", State: Paired},
		{Group: "new", State: Alone},
		{Group: "new", State: "married", N: 1},
		{Group: "new", State: Paired, N: maxN + 1},
		{Group: "new"},
	} {
		if err := s.Write(r, when); err == nil {
			t.Errorf("%+v was written", r)
		}
	}
	st, err := os.Stat(s.Path("samba"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// TestDamagedRecordForbids has each damage give an error, never a record, and no write go over it.
func TestDamagedRecordForbids(t *testing.T) {
	good, err := Record{"samba", Alone, 4, when, "fence"}.Seal()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text []byte) func() error {
		return func() error { return os.WriteFile(s.Path("samba"), text, 0o600) }
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		make func() error
		want error
	}{
		"empty":              {put(nil), ErrDamaged},
		"half":               {put(good[:len(good)/2]), ErrDamaged},
		"no newline":         {put(good[:len(good)-1]), ErrDamaged},
		"one bit":            {put(flipped), ErrDamaged},
		"twice":              {put(append(append([]byte(nil), good...), good...)), ErrDamaged},
		"too long":           {put([]byte(strings.Repeat(" ", maxRecord+1))), ErrDamaged},
		"zeroes":             {put(make([]byte, len(good))), ErrDamaged},
		"the number by hand": {put([]byte(strings.Replace(string(good), `"n":4`, `"n":5`, 1))), ErrDamaged},
		"a second key":       {put([]byte(strings.Replace(string(good), `{"version":1`, `{"version":7,"version":1`, 1))), ErrDamaged},
		"of another group":   {func() error { r, err := Record{"mail", Alone, 4, when, ""}.Seal(); return errors.Join(err, put(r)()) }, ErrDamaged},
		"of a later kvmha":   {put([]byte(strings.Replace(string(good), `"version":1`, `"version":2`, 1))), ErrLaterVersion},
		"a link":             {func() error { return os.Symlink("elsewhere", s.Path("samba")) }, unix.ELOOP},
		"a directory":        {func() error { return os.Mkdir(s.Path("samba"), 0o700) }, unix.EISDIR},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(s.Path("samba")); err != nil {
				t.Fatal(err)
			}
			if err := tc.make(); err != nil {
				t.Fatal(err)
			}
			r, err := s.Read("samba")
			var bad *BadFileError
			if r != (Record{}) || !errors.Is(err, tc.want) || !errors.As(err, &bad) || bad.Path != s.Path("samba") {
				t.Fatalf("%+v, %v", r, err)
			}
			if err := s.Write(Record{Group: "samba", State: Paired, N: 9}, when); !errors.Is(err, tc.want) {
				t.Errorf("written over: %v", err)
			}
			sit := ready()
			sit.Own, sit.Damaged = r, err
			for what, v := range map[string]Verdict{"promote": MayPromote(sit), "stay": MayStayAlone(sit), "let go": MayYield(sit, 1), "target": MayBeTarget(sit, true)} {
				if v.May || v.Reason != ReasonDamaged {
					t.Errorf("%s: %v", what, v)
				}
			}
		})
	}
}

func TestNewer(t *testing.T) {
	life := []Record{{}, {State: Paired}, {State: Alone, N: 1}, {State: Paired, N: 1}, {State: Alone, N: 2}, {State: Paired, N: 5}}
	for i, a := range life {
		for j, b := range life {
			if got := a.Newer(b); got != (i > j) {
				t.Errorf("%v newer than %v: %v", a, b, got)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range []Record{{"samba", Paired, 0, when, "new"}, {"samba", Alone, 12, when, "fence ü <&>"}, {"samba", Paired, maxN, when, ""}} {
		text, err := r.Seal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[1:])
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse("samba", text)
		if err != nil {
			if r != (Record{}) || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrLaterVersion) {
				t.Fatalf("%+v, %v", r, err)
			}
			return
		}
		if again, err := r.Seal(); err != nil || string(again) != string(text) {
			t.Fatalf("%q became %q, %v", text, again, err)
		}
	})
}
