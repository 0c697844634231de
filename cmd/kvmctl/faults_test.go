package main

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/faults.md names for each verb and fault the test that shows it: each has to be there, and no cell is empty.
func TestTheTableOfFaultsNamesTestsThatExist(t *testing.T) {
	f, err := os.Open("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	have := testNames(t)
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+|(?:pure|root|mount|qemu)/[a-z-]+)`")
	reason := regexp.MustCompile(`^as [a-z]`) // another row's cell
	rows := 0
	var width, first int // of a table's rows: their cells, and the first one that names tests
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		for _, m := range named.FindAllStringSubmatch(lines.Text(), -1) {
			if !have[m[1]] && m[1] != "TestX" && !strings.HasSuffix(m[1], "/x") { // those tell how to read the table
				t.Errorf("faults.md:%d: there is no %s", n, m[1])
			}
		}
		row, ok := strings.CutPrefix(lines.Text(), "| ")
		cells := strings.Split(strings.TrimSuffix(row, " |"), " | ")
		if !ok {
			continue
		}
		if cells[0] == "Verb" || cells[0] == "Fault" {
			width, first = len(cells), map[bool]int{true: 2, false: 1}[cells[0] == "Fault"]
			continue
		}
		rows++
		if len(cells) != width {
			t.Errorf("faults.md:%d: %d cells", n, len(cells))
			continue
		}
		for _, cell := range cells[first:] {
			if !named.MatchString(cell) && !reason.MatchString(cell) {
				t.Errorf("faults.md:%d: %q names neither a test nor another row", n, cell)
			}
		}
	}
	if err := lines.Err(); err != nil || rows == 0 {
		t.Fatal(rows, err)
	}
}

// testNames gives the functions of all tests, and the scripts of this package.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	have := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	for _, dir := range []string{"cmd", "configs", "ha", "internal", "netbridge", "test", "vm"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range function.FindAllSubmatch(b, -1) {
				have[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	scripts, err := filepath.Glob("testdata/script/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range scripts {
		have[filepath.Base(filepath.Dir(path))+"/"+strings.TrimSuffix(filepath.Base(path), ".txtar")] = true
	}
	return have
}
