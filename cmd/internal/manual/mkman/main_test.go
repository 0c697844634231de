package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kvmctl/internal/testenv"
)

const manualDir = "../../../../man"

func TestTheManualIsThatOfTheCommands(t *testing.T) {
	left := map[string]bool{}
	files, err := filepath.Glob(manualDir + "/*.[58]")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		left[filepath.Base(f)] = true
	}
	for _, p := range pages() {
		delete(left, p.File)
		got, err := os.ReadFile(filepath.Join(manualDir, p.File))
		if err != nil {
			t.Errorf("%v (make man)", err)
			continue
		}
		if d := cmp.Diff(string(got), p.Text); d != "" {
			t.Errorf("%s is old (make man):\n%s", p.File, d)
		}
	}
	for f := range left {
		t.Errorf("%s is the page of nothing (make man)", f)
	}
}

func TestMandocHasNothingToSayOfTheManual(t *testing.T) {
	testenv.Need(t, testenv.Netns, "mandoc")
	var files []string
	ours := map[string]bool{"consider using OS macro: Ox": true} // in a sentence
	for _, p := range pages() {
		files = append(files, filepath.Join(manualDir, p.File))
		name, section := p.File[:len(p.File)-2], p.File[len(p.File)-1:]
		ours["referenced manual not found: Xr "+name+" "+section] = true // they are not installed here
	}
	out, _ := exec.Command("mandoc", append([]string{"-T", "lint"}, files...)...).Output() // its status says no more than its words
	for line := range strings.Lines(string(out)) {
		if _, said, _ := strings.Cut(line, ": STYLE: "); !ours[strings.TrimSpace(said)] {
			t.Error(line)
		}
	}
}
