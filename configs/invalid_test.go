package configs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// TestInvalidFilesProduceExactlyTheseMessages loads each archive of testdata/invalid as an /etc/kvm and compares all of
// its problems with the archive's last file, "problems": a line a problem, its hint below it.
func TestInvalidFilesProduceExactlyTheseMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.txtar")
	if err != nil || len(files) < 60 {
		t.Fatalf("found %d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := messages(loadArchive(t, archive))
			if got == "" {
				t.Fatal("no problem at all")
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

// loadArchive writes an archive's files below /etc/kvm of a new root and loads it. A name that ends in ".quoted"
// holds a Go string: what a text file cannot.
func loadArchive(t *testing.T, archive *txtar.Archive) *Site {
	t.Helper()
	root := t.TempDir()
	put(t, root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	for _, f := range archive.Files {
		if f.Name == "problems" {
			continue
		}
		name, data := f.Name, string(f.Data)
		if quoted, ok := strings.CutSuffix(name, ".quoted"); ok {
			name = quoted
			if _, err := fmt.Sscanf(data, "%q", &data); err != nil {
				t.Fatal(err)
			}
		}
		put(t, root, filepath.Join("etc/kvm", name), data)
	}
	site, err := Load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

func put(t testing.TB, root, name, data string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// messages writes a site's problems as in the archives, without the root.
func messages(s *Site) string {
	var b strings.Builder
	for _, p := range s.Problems {
		fmt.Fprintln(&b, p.Error())
		if p.Hint() != "" {
			fmt.Fprintln(&b, "\thint: "+p.Hint())
		}
	}
	return strings.ReplaceAll(b.String(), s.Root+"/", "/")
}
