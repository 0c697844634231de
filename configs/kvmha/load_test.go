package kvmha

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"kvmctl/configs/strict"
)

// write puts a file of this mode into a new directory's copy of /etc.
func write(t testing.TB, dir, name, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

// manyGroups is a file of n groups with a unit and a check each.
func manyGroups(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[group.g%d]\ninterface = \"eth%d\"\nvhid = %d\naddresses = [\"10.%d.0.10\", \"fd00::%x\"]\npassword_file = \"pw\"\n", i, i/200, i%200+1, i, i+1)
		fmt.Fprintf(&b, "[[group.g%d.unit]]\nname = \"unit%d\"\n[[group.g%d.check]]\ntype = \"tcp\"\ntarget = \"127.0.0.1:%d\"\n", i, i, i, i+1)
	}
	return b.String()
}

func TestLoadReadsWhatIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "kvmha.toml", manyGroups(3), 0o644)
	write(t, dir, "pw", "hunter2\n", 0o600)
	spec, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range spec.Groups {
		names = append(names, g.Name)
		if g.Password.Reveal() != "hunter2" {
			t.Errorf("%s: password %q", g.Name, g.Password.Reveal())
		}
	}
	if !slices.Equal(names, []string{"g0", "g1", "g2"}) || spec.Node == "" || strings.Contains(spec.Node, ".") || spec.File != path {
		t.Errorf("groups %v, node %q, file %q", names, spec.Node, spec.File)
	}
}

func TestLoadRefusesWhatCannotBeAFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	good := "[group.web]\ninterface = \"eth0\"\nvhid = 1\naddresses = [\"10.2.0.10\"]\npassword_file = %q\n"
	write(t, dir, "open", "hunter2\n", 0o640)
	tests := []struct{ name, path, want string }{
		{"no file", filepath.Join(dir, "none"), ":1:1: cannot be read: no such file or directory"},
		{"a directory", dir, ":1:1: cannot be read: no regular file"},
		{"a FIFO", fifo, ":1:1: cannot be read: no regular file"},
		{"2 MB", write(t, dir, "large", strings.Repeat("# a comment of a line's length\n", 2<<20/31), 0o644), ":1:1: larger than 1M: this is no configuration file"},
		{"a password file of 2 MB", write(t, dir, "a", fmt.Sprintf(good, write(t, dir, "b", strings.Repeat("x", 2<<20), 0o600)), 0o644), " is larger than 4096 bytes"},
		{"a FIFO for a password", write(t, dir, "c", fmt.Sprintf(good, fifo), 0o644), ": cannot be read: no regular file"},
		{"a password that its group may read", write(t, dir, "d", fmt.Sprintf(good, "open"), 0o644), " has the mode 0640: others can read or change it"},
		{"a password in a file that all may read", write(t, dir, "e", strings.Replace(good, "_file = %q", " = \"hunter2\"", 1), 0o644), " has the mode 0644: others can read or change it"},
	}
	for _, tt := range tests {
		began := time.Now()
		spec, err := Load(tt.path)
		if problems := strict.Problems(nil); !errors.As(err, &problems) || len(problems) != 1 || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want …%s", tt.name, err, tt.want)
		}
		if len(spec.Groups) > 0 || strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: %+v, %v", tt.name, spec, err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("%s: took %v", tt.name, d)
		}
	}
}

func TestTwoHundredGroupsLoadAtOnce(t *testing.T) {
	text := []byte(manyGroups(200))
	best := time.Hour
	for range 5 { // the machine has other things to do, too
		began := time.Now()
		spec, problems := Parse("/etc/kvmha.toml", File{Text: text, Mode: 0o644}, secret)
		best = min(best, time.Since(began))
		if len(problems) > 0 || len(spec.Groups) != 200 {
			t.Fatal(len(spec.Groups), problems)
		}
	}
	limit := 100 * time.Millisecond
	if raceEnabled {
		limit *= 10
	}
	t.Logf("%d bytes in %v", len(text), best)
	if best > limit {
		t.Errorf("200 groups took %v, more than %v", best, limit)
	}
}

func BenchmarkParse200Groups(b *testing.B) {
	text := []byte(manyGroups(200))
	for b.Loop() {
		if _, problems := Parse("/etc/kvmha.toml", File{Text: text, Mode: 0o644}, secret); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}

// FuzzParse reads any bytes: each problem has a place inside the text and shows no password of a file; what loads keeps the rules that safety
// rests on.
func FuzzParse(f *testing.F) {
	f.Add([]byte(Reference))
	f.Add([]byte(manyGroups(2)))
	files, err := filepath.Glob("testdata/invalid/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds: ", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	look := func(string) (File, error) { return File{Text: []byte("s3cr3t-of-a-file"), Mode: 0o600}, nil }
	f.Fuzz(func(t *testing.T, text []byte) {
		spec, problems := Parse("kvmha.toml", File{Text: text, Mode: 0o600}, look)
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Col < 1 || p.Msg == "" || strings.ContainsAny(p.Msg, "\n\x00") {
				t.Errorf("%+v in a text of %d lines", p, lines)
			}
			if strings.Contains(p.Error()+p.Hint(), "s3cr3t") && !strings.Contains(string(text), "s3cr3t") {
				t.Errorf("the password shows: %v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		for _, g := range spec.Groups {
			if g.VHID == 0 || g.Interface == "" || len(g.Addresses) == 0 || g.Password.IsZero() || len(g.Password.Reveal()) > 19 ||
				g.PeerSkew != nil && *g.PeerSkew == g.Skew || g.Base == 0 && g.Peer != "kvmha" ||
				g.Peer == "ucarp" && (len(g.Addresses) > 1 || !g.Addresses[0].Is4()) {
				t.Errorf("%q loads as %+v", text, g)
			}
		}
	})
}
