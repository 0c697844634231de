package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Each testdata/*.txtar is a module for the real go test, and what has to be shown of it.
func TestWhatIsShownIsWhatHappened(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			file, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var want string
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				path := filepath.Join(dir, f.Name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"-race", "-p", "1", "-timeout", "2s", "./..."}, &out, &errs)
			got := scrub(errs.String()+out.String(), dir) + fmt.Sprintf("exit %d\n", code)
			if *update {
				rewrite(t, file, archive, got)
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("shown (-want +got):\n%s", d)
			}
		})
	}
}

// scrub removes what differs from run to run: times, addresses, stacks.
func scrub(s, dir string) string {
	s = strings.ReplaceAll(s, dir, "DIR")
	s = regexp.MustCompile(`[0-9.]+ ?s\b`).ReplaceAllString(s, "Ts")
	s = regexp.MustCompile(` +Ts`).ReplaceAllString(s, " Ts")
	s = regexp.MustCompile(`testing\.go:\d+`).ReplaceAllString(s, "testing.go:N")
	s = regexp.MustCompile(`(?s)\n(Read|Write) at 0x.*?\n={18}\n`).ReplaceAllString(s, "\nSTACKS\n==================\n")
	return regexp.MustCompile(`(?s)\ngoroutine .*?\nFAIL`).ReplaceAllString(s, "\nSTACKS\nFAIL")
}

func rewrite(t *testing.T, file string, archive *txtar.Archive, got string) {
	t.Helper()
	for i := range archive.Files {
		if archive.Files[i].Name == "want" {
			archive.Files[i].Data = []byte(got)
		}
	}
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestARunThatWasCutShortIsNoSuccess(t *testing.T) {
	var c count
	c.add([]byte(`{"Action":"start","Package":"a"}`))
	c.add([]byte(`{"Action":"pass","Package":"a","Test":"TestX"}`))
	if got, want := c.summary(), "never ended: a\n1 passed, 1 failed\n"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"Action":"fail","Package":"a","Test":"TestX"}`), []byte(`{"Action":"fail","Package":"a"}`))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var c count
		c.add(one)
		c.add(two)
		if c.passed+c.failed+c.skipped > 2 {
			t.Errorf("two lines, and %d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
		}
	})
}

func TestNoGoIsAFailure(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	if code := run(t.Context(), nil, &out, &out); code != 1 || !strings.HasPrefix(out.String(), "runtests: error: cannot run go test: ") {
		t.Errorf("exit %d, said %q", code, out.String())
	}
	if _, err := exec.LookPath("go"); err == nil {
		t.Error("there is a go after all")
	}
}
