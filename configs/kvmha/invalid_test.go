package kvmha

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// etc is an archive as the files of /etc. A line "file MODE [UID]" of its comment says who may read one; else it is 0600 and root's.
func etc(t testing.TB, a *txtar.Archive) map[string]File {
	t.Helper()
	files := map[string]File{}
	for _, f := range a.Files {
		files["/etc/"+f.Name] = File{Text: f.Data, Mode: 0o600}
	}
	for line := range strings.Lines(string(a.Comment)) {
		var name string
		var mode, uid uint32
		if n, _ := fmt.Sscanf(line, "%s %o %d", &name, &mode, &uid); n < 2 {
			continue
		}
		f, ok := files["/etc/"+name]
		if !ok {
			t.Fatalf("no file %q", name)
		}
		f.Mode, f.UID = fs.FileMode(mode), uid
		files["/etc/"+name] = f
	}
	return files
}

// problems loads an archive's kvmha.toml and writes a line a problem, its hint below it.
func problems(t testing.TB, a *txtar.Archive) string {
	t.Helper()
	files := etc(t, a)
	look := func(path string) (File, error) {
		f, ok := files[path]
		if !ok {
			return File{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return f, nil
	}
	_, problems := Parse("/etc/kvmha.toml", files["/etc/kvmha.toml"], look)
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintln(&b, p.Error())
		if p.Hint() != "" {
			fmt.Fprintln(&b, "\thint: "+p.Hint())
		}
	}
	return b.String()
}

// TestInvalidFilesProduceExactlyTheseMessages loads each archive of testdata/invalid and compares all of its problems with the archive's last
// file, "problems".
func TestInvalidFilesProduceExactlyTheseMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.txtar")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := problems(t, archive)
			if got == "" {
				t.Fatal("no problem at all")
			}
			if strings.Contains(got, "hunter") {
				t.Errorf("a password shows:\n%s", got)
			}
			last := &archive.Files[len(archive.Files)-1]
			if last.Name != "problems" {
				t.Fatalf("the last file is %q, not \"problems\"", last.Name)
			}
			if *update {
				last.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(last.Data), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
