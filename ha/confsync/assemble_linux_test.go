package confsync

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvmctl/internal/testenv"
)

// state is all of a tree that is copied: kinds, modes, contents, targets, times of files.
func state(t *testing.T, dir string) string {
	t.Helper()
	all, _, err := entries(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		info := all[name]
		uid, gid := owner(info)
		fmt.Fprintf(&b, "%q %v %d:%d", name, info.Mode(), uid, gid)
		at := filepath.Join(dir, name)
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(at)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %q %v", text, info.ModTime().UnixNano())
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(at)
			fmt.Fprintf(&b, " -> %q", to)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// names are such as an output has to be read with care for.
var names = []string{"a", "b.zone", "c d", "new\nline", `back\slash`, `\#101`, "kvmha:>f+++++++++ x", "\xff\xfe", "zoné", "*?[x]", "-rf", "e"}

// disturb changes a tree at random.
func disturb(t *testing.T, r *rand.Rand, root string) {
	t.Helper()
	dirs := []string{root, root + "/" + names[r.IntN(3)], root + "/" + names[r.IntN(3)] + "/" + names[3+r.IntN(9)]}
	at := filepath.Join(dirs[r.IntN(3)], names[r.IntN(len(names))])
	folder := func(dir string) { // an empty one alone is no change; it may be below a file
		for ; len(dir) > len(root); dir = filepath.Dir(dir) {
			_ = os.MkdirAll(dir, 0o755)
			if _, err := os.Lstat(dir + "/in"); err != nil {
				_ = os.WriteFile(dir+"/in", nil, 0o600)
			}
		}
	}
	folder(filepath.Dir(at))
	if info, err := os.Lstat(filepath.Dir(at)); err != nil || !info.IsDir() {
		_ = os.RemoveAll(filepath.Dir(at))
		return
	}
	var err error
	switch r.IntN(9) {
	case 0, 1:
		err = os.RemoveAll(at)
	case 2:
		_ = os.RemoveAll(at)
		err = os.Symlink(names[r.IntN(len(names))], at)
	case 3:
		_ = os.RemoveAll(at)
		folder(at)
	case 4:
		if _, e := os.Lstat(at); e == nil {
			_ = os.Chmod(at, fs.FileMode([]int{0o700, 0o755, 0o744}[r.IntN(3)])) // of a link it is another file's
		}
	case 5:
		if info, e := os.Lstat(at); e == nil && info.Mode().IsRegular() {
			err = os.Chtimes(at, time.Time{}, time.Now().Add(-time.Duration(r.IntN(1e6))*time.Second))
		}
	case 6:
		if info, e := os.Lstat(at); e == nil {
			err = os.Lchown(at, r.IntN(3), r.IntN(3))
			_ = info
		}
	default:
		_ = os.RemoveAll(at)
		err = os.WriteFile(at, fmt.Appendf(nil, "text %d\n", r.IntN(5)), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// TestManyRunsOfManyTrees changes the source at random between runs, some of which are refused: what is in place is what the source had at the last
// one that was not, and neither it nor a version that is kept changes in any other way, although they share most files with what is staged.
func TestManyRunsOfManyTrees(t *testing.T) {
	testenv.Need(t, testenv.Netns, "rsync")
	dir, seed := t.TempDir(), rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	there, here := dir+"/there", dir+"/here"
	if err := errors.Join(os.Mkdir(here, 0o755), os.Mkdir(there, 0o755), os.WriteFile(there+"/stays", []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	e := &Engine{State: dir + "/state", Source: func(Job, int) (string, string) { return "", there + "/" }}
	job := Job{Name: "many", Paths: []string{here + "/"}, MaxDelete: 100, Keep: 2}
	kept := map[int]string{} // by version, what it was
	for run := range 60 {
		for range r.IntN(4) {
			disturb(t, r, there)
		}
		job.Validate = nil
		if run%4 == 3 {
			job.Validate = []string{"/bin/false"}
		}
		before, want := state(t, here), state(t, there)
		_, err := e.Run(t.Context(), job, false)
		if _, refused := errors.AsType[*InvalidError](err); err != nil && !refused {
			t.Fatalf("run %d: %v", run, err)
		} else if refused {
			want = before
		}
		if got := state(t, here); got != want && dated(got) != dated(want) {
			t.Fatalf("run %d, in place is\n%s\nwant\n%s", run, got, want)
		}
		all, err := Versions(job)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range all {
			if _, known := kept[v.Number]; !known && i == 0 {
				kept[v.Number] = before
			}
			if got := state(t, placeOf(here+"/", versionName(v.Number))); got != kept[v.Number] {
				t.Fatalf("run %d, version %d is\n%s\nwant\n%s", run, v.Number, got, kept[v.Number])
			}
		}
	}
	t.Logf("%d versions", len(kept))
}

// dated is a state without the times of files: one that replaces a newer one has a time of its own.
func dated(state string) string {
	var b strings.Builder
	for line := range strings.Lines(state) {
		if i := strings.LastIndexByte(line, ' '); strings.Contains(line, ` "text `) && i > 0 {
			line = line[:i] + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// TestWhatIsEqualIsTheSameFile: the staged tree costs no room, and most of a spare one stays as it is.
func TestWhatIsEqualIsTheSameFile(t *testing.T) {
	dir, e, job := site(t)
	for i := range 4 {
		put(t, dir+"/there/zones/a.zone", fmt.Sprintf("zone %d\n", i))
		was := inode(dir + "/here/zones/sub/b.zone")
		if _, err := e.Run(t.Context(), job, false); err != nil {
			t.Fatal(err)
		}
		if now := inode(dir + "/here/zones/sub/b.zone"); i > 0 && now != was {
			t.Errorf("run %d: what is equal is another file", i)
		}
	}
	if inode(dir+"/here/.zones.kvmha/"+spare) == 0 {
		t.Error("no spare tree")
	}
}

func TestListing(t *testing.T) {
	var l listing
	for _, part := range []string{"created directory x\nkvmha:cd..t...... ./\nkvmha:.f", "          a/b\nkvmha:cd          a/\n", `kvmha:>f+++++++++ n\#012\#134#101` + "\nkvmha:cL+++++++++ l\n"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	got := slices.Sorted(maps.Keys(l.names))
	if want := []string{".", "a", "a/b", "l", "n\n\\#101"}; !slices.Equal(got, want) || l.err != nil || l.said.String() != "created directory x" {
		t.Errorf("%q, %v, %q", got, l.err, l.said.String())
	}
	for _, bad := range []string{"kvmha:.f          ../x", "kvmha:.f          /etc/shadow", "kvmha:.f          a//b", "kvmha:.f          a/../b", "kvmha:.f", "kvmha:.f          ",
		"kvmha:.f          a\\#000", strings.Repeat("x", 30<<10)} {
		l := listing{}
		if _, _ = l.Write([]byte(bad + "\n")); l.err == nil {
			t.Errorf("%.40q is taken: %v", bad, l.names)
		}
	}
}

func FuzzListing(f *testing.F) {
	f.Add([]byte("kvmha:cd..t...... ./\nkvmha:.f          a/b\n"))
	f.Add([]byte(`kvmha:>f+++++++++ n\#012\#134#101` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var l listing
		if n, err := l.Write(text); n != len(text) || err != nil {
			t.Fatal(n, err)
		}
		for name := range l.names {
			if !filepath.IsLocal(name) || filepath.Clean(name) != name {
				t.Errorf("%q", name)
			}
		}
	})
}
