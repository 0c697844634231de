package configs

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad reads any bytes as both files: each problem has a place inside the text, and a guest without problems is
// rendered into a file that means the same.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(GuestReference))
	f.Add([]byte(HostReference))
	files, err := filepath.Glob("testdata/invalid/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds: ", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, x := range a.Files[:len(a.Files)-1] {
			f.Add(x.Data)
		}
	}
	host := testHost()
	f.Fuzz(func(t *testing.T, text []byte) {
		_, problems := ParseHost("/etc/kvm/kvm.toml", text, "here")
		checkProblems(t, "/etc/kvm/kvm.toml", text, problems)
		spec, problems := ParseGuest(testFile, "vm-olorin", text, host)
		checkProblems(t, testFile, text, problems)
		if len(problems) > 0 {
			return
		}
		again := RenderGuest(spec, host)
		got, problems := ParseGuest(testFile, "vm-olorin", again, host)
		if len(problems) > 0 {
			t.Fatalf("rendered: %v\n%s", problems, again)
		}
		if diff := cmp.Diff(spec, got, compare); diff != "" {
			t.Fatalf("rendered (-want +got):\n%s\n%s", diff, again)
		}
	})
}

func checkProblems(t *testing.T, file string, text []byte, problems Problems) {
	lines := strings.Split(string(text), "\n")
	for _, p := range problems {
		if p.File != file || p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > utf8.RuneCountInString(lines[p.Line-1])+1 {
			t.Fatalf("%q: the place of %+v is outside", text, p)
		}
		if p.Msg == "" || strings.ContainsAny(p.Msg, "\n\x00") || strings.Contains(p.Msg, "interface {}") {
			t.Fatalf("%q: message %q", text, p.Msg)
		}
	}
}
