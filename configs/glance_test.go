package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kvmctl/internal/units"
)

// glanceSite is a site of two sound guests and a broken one.
func glanceSite(t *testing.T) (root, cache string) {
	t.Helper()
	root = t.TempDir()
	put(t, root, "etc/kvm/kvm.toml", "uid_base = 80000\n")
	put(t, root, "etc/kvm/a/vm.toml", "memory = \"1G\"\n")
	put(t, root, "etc/kvm/b/vm.toml", "memroy = \"1G\"\n")
	put(t, root, "etc/kvm/c/vm.toml", "memory = \"2G\"\n")
	return root, filepath.Join(t.TempDir(), "site.json")
}

// settledGlance looks when all files have long been written.
func settledGlance(t *testing.T, root, cache string) *Glance {
	t.Helper()
	g, err := loadGlance(t.Context(), root, cache, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// plant changes what the cache says of guest a, which shows whether it was believed.
func plant(t *testing.T, cache string) {
	t.Helper()
	text, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	key, _, _ := strings.Cut(strings.TrimPrefix(string(text), glanceFormat), "\n")
	guests, ok := decodeGlance(string(text), key)
	if !ok {
		t.Fatalf("cache %q", text)
	}
	guests[0].Memory = 7
	if err := os.WriteFile(cache, encodeGlance(key, guests), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAGlanceIsWhatLoadSees(t *testing.T) {
	root, cache := glanceSite(t)
	want := []GlanceGuest{{Name: "a", Memory: units.GiB}, {Name: "b", Broken: true}, {Name: "c", Memory: 2 * units.GiB}}
	site, err := Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Digest = site.Guests[i].Spec.Digest()
	}
	for _, when := range []string{"without a cache", "from the cache"} {
		g := settledGlance(t, root, cache)
		if diff := cmp.Diff(want, g.Guests); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		if g.Host.UIDBase != 80000 || g.Host.Root != root {
			t.Errorf("%s: host %+v", when, g.Host)
		}
	}
	if _, ok := settledGlance(t, root, cache).Find("aa"); ok {
		t.Error("found a guest that is not there")
	}
}

func TestAGlanceBelievesItsCacheOnlyWhileNothingChanged(t *testing.T) {
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, root string) { put(t, root, name, text) }
	}
	tests := []struct {
		name     string
		change   func(t *testing.T, root string)
		believed bool
	}{
		{"nothing", func(*testing.T, string) {}, true},
		{"a stranger's file beside vm.toml", write("etc/kvm/a/notes", "x"), true},
		{"another guest's file", write("etc/kvm/c/vm.toml", "memory = \"3G\"\n"), false},
		{"the host's file", write("etc/kvm/kvm.toml", "uid_base = 80001\n"), false},
		{"a new guest", write("etc/kvm/d/vm.toml", "memory = \"1G\"\n"), false},
		{"a guest that is gone", func(t *testing.T, root string) {
			if err := os.RemoveAll(root + "/etc/kvm/c"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a machine-id, which derives addresses", write("etc/machine-id", "0123456789abcdef0123456789abcdef\n"), false},
		{"a file of the same size with its old time put back", func(t *testing.T, root string) {
			path := root + "/etc/kvm/c/vm.toml"
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			put(t, root, "etc/kvm/c/vm.toml", "memory = \"9G\"\n")
			if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
				t.Fatal(err)
			}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, cache := glanceSite(t)
			settledGlance(t, root, cache)
			plant(t, cache)
			// The kernel's clock of file times ticks every few milliseconds; what LoadGlance does about it is the next test's.
			before, err := os.Stat(root + "/etc/kvm/c/vm.toml")
			if err != nil {
				t.Fatal(err)
			}
			for probe := filepath.Join(root, "probe"); ; {
				put(t, root, "probe", "x")
				if st, err := os.Stat(probe); err != nil || st.ModTime().After(before.ModTime()) {
					break
				}
			}
			tt.change(t, root)
			g := settledGlance(t, root, cache)
			if believed := g.Guests[0].Memory == 7; believed != tt.believed {
				t.Errorf("the cache was believed: %v, want %v", believed, tt.believed)
			}
		})
	}
}

func TestAGlanceAtFilesJustWrittenIsNotKept(t *testing.T) {
	root, cache := glanceSite(t)
	if _, err := LoadGlance(t.Context(), root, cache); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cache); !os.IsNotExist(err) {
		t.Errorf("a cache was written: %v", err)
	}
}

func TestACacheThatCannotBeWrittenHurtsNobody(t *testing.T) {
	root, _ := glanceSite(t)
	g := settledGlance(t, root, "/nowhere/at/all")
	if len(g.Guests) != 3 {
		t.Errorf("%d guests", len(g.Guests))
	}
}

func FuzzGlanceCache(f *testing.F) {
	f.Add(string(encodeGlance("k", []GlanceGuest{{Name: "a", Memory: 1, Digest: "d", Auto: true}, {Name: "b", Broken: true}, {Name: "c d\n"}})))
	f.Add(glanceFormat + "k\n\"b\" 0 \"\" -\n\"a\" 0 \"\" -\n")
	f.Add(glanceFormat + "k\n\"b\" 0 \"\" ")
	f.Fuzz(func(t *testing.T, text string) {
		guests, ok := decodeGlance(text, "k")
		if !ok {
			if guests != nil {
				t.Error("guests from a cache that is no good")
			}
			return
		}
		byName := func(a, b GlanceGuest) int { return strings.Compare(a.Name, b.Name) }
		if !slices.IsSortedFunc(guests, byName) {
			t.Errorf("not sorted: %v", guests)
		}
		again, ok := decodeGlance(string(encodeGlance("k", guests)), "k")
		if diff := cmp.Diff(guests, again, cmpopts.EquateEmpty()); !ok || diff != "" {
			t.Errorf("%t %s", ok, diff)
		}
	})
}

func BenchmarkGlanceAt200Guests(b *testing.B) {
	root, cache := b.TempDir(), filepath.Join(b.TempDir(), "site.json")
	for i := range 200 {
		put(b, root, fmt.Sprintf("etc/kvm/vm%03d/vm.toml", i), "memory = \"512M\"\n")
	}
	for b.Loop() {
		if g, err := loadGlance(b.Context(), root, cache, time.Now().Add(time.Hour)); err != nil || len(g.Guests) != 200 {
			b.Fatal(g, err)
		}
	}
}
