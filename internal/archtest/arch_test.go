package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the list of edges")

const module = "kvmctl"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func list(t *testing.T, dir string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("go list -json: %v", err)
		}
		pkgs = append(pkgs, p)
	}
}

// room is the first part of a package's path inside the module: cmd, configs, vm, …; "" for packages of others.
func room(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rest, "/")
	return first
}

// below is the rule of ARCHITECTURE: cmd → configs → {vm, netbridge, ha} → internal. A room may import itself and these.
var below = map[string][]string{
	"cmd":       {"configs", "vm", "netbridge", "ha", "internal"},
	"configs":   {"vm", "netbridge", "ha", "internal"},
	"vm":        {"internal"},
	"netbridge": {"internal"},
	"ha":        {"internal"},
	"internal":  {},
	"test":      {"cmd", "configs", "vm", "netbridge", "ha", "internal"},
}

// decoders and command lines are no business of the rooms where decisions are made.
var (
	domain  = []string{"vm", "netbridge", "ha", "internal"}
	foreign = []string{"github.com/BurntSushi/toml", "github.com/spf13/cobra", "github.com/spf13/pflag"}
)

// forTests says which packages may import "testing" outside of _test.go files.
func forTests(path string) bool {
	return strings.HasSuffix(path, "test") || path == module+"/internal/testenv" || room(path) == "test"
}

// breaches are the sentences that say what is wrong with an edge; testOnly: it exists only in _test.go files.
func breaches(from, to string, testOnly bool) []string {
	var wrong []string
	a, b := room(from), room(to)
	allowed, known := below[a]
	switch {
	case !known:
		wrong = append(wrong, fmt.Sprintf("%s is in no room of the rule", from))
	case b == "" || a == b || slices.Contains(allowed, b):
	case (testOnly || forTests(from)) && forTests(to):
	default:
		wrong = append(wrong, fmt.Sprintf("%s may not import %s: %s knows only %v", from, to, a, allowed))
	}
	if slices.Contains(domain, a) && slices.ContainsFunc(foreign, func(f string) bool { return to == f || strings.HasPrefix(to, f+"/") }) {
		wrong = append(wrong, fmt.Sprintf("%s may not import %s: it belongs to configs or cmd", from, to))
	}
	if !testOnly && !forTests(from) && (to == "testing" || strings.HasPrefix(to, "testing/")) {
		wrong = append(wrong, fmt.Sprintf("%s may not import %s outside of its tests", from, to))
	}
	if !testOnly && !forTests(from) && b != "" && forTests(to) {
		wrong = append(wrong, fmt.Sprintf("%s may not import %s outside of its tests", from, to))
	}
	return wrong
}

func TestImportsFollowTheRule(t *testing.T) {
	pkgs := list(t, root(t))
	var edges []string
	for _, p := range pkgs {
		for _, to := range p.Imports {
			for _, w := range breaches(p.ImportPath, to, false) {
				t.Error(w)
			}
			if room(to) != "" {
				edges = append(edges, strings.TrimPrefix(p.ImportPath, module+"/")+" → "+strings.TrimPrefix(to, module+"/")+"\n")
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			for _, w := range breaches(p.ImportPath, to, true) {
				t.Error(w)
			}
		}
	}
	slices.Sort(edges)
	got := strings.Join(edges, "")
	if *update {
		if err := os.WriteFile("testdata/edges.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/edges.txt")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.SplitAfter(string(want), "\n"), strings.SplitAfter(got, "\n")); d != "" {
		t.Errorf("edges between our packages differ from testdata/edges.txt; if they are meant, say why in the commit and run "+
			"go test ./internal/archtest -update (-want +got):\n%s", d)
	}
}

func TestTheRuleItself(t *testing.T) {
	tests := []struct {
		name, from, to string
		testOnly       bool
		want           []string
	}{
		{name: "downwards", from: "kvmctl/cmd/internal/hostcmd", to: "kvmctl/vm/qmp"},
		{name: "inside a room", from: "kvmctl/vm", to: "kvmctl/vm/qmp"},
		{name: "the standard library", from: "kvmctl/vm", to: "net/netip"},
		{name: "upwards", from: "kvmctl/vm/qmp", to: "kvmctl/configs",
			want: []string{"kvmctl/vm/qmp may not import kvmctl/configs: vm knows only [internal]"}},
		{name: "sideways", from: "kvmctl/vm", to: "kvmctl/netbridge",
			want: []string{"kvmctl/vm may not import kvmctl/netbridge: vm knows only [internal]"}},
		{name: "sideways in a test", from: "kvmctl/vm", to: "kvmctl/netbridge", testOnly: true,
			want: []string{"kvmctl/vm may not import kvmctl/netbridge: vm knows only [internal]"}},
		{name: "the guest in a test", from: "kvmctl/vm", to: "kvmctl/test/guest", testOnly: true},
		{name: "the guest in a test's package", from: "kvmctl/vm/vmtest", to: "kvmctl/test/guest"},
		{name: "the guest in the program", from: "kvmctl/cmd/kvmctl", to: "kvmctl/test/guest",
			want: []string{"kvmctl/cmd/kvmctl may not import kvmctl/test/guest: cmd knows only [configs vm netbridge ha internal]",
				"kvmctl/cmd/kvmctl may not import kvmctl/test/guest outside of its tests"}},
		{name: "a decoder in a domain package", from: "kvmctl/vm", to: "github.com/BurntSushi/toml",
			want: []string{"kvmctl/vm may not import github.com/BurntSushi/toml: it belongs to configs or cmd"}},
		{name: "a decoder where it belongs", from: "kvmctl/configs", to: "github.com/BurntSushi/toml"},
		{name: "cobra's parts in a domain package's test", from: "kvmctl/netbridge", to: "github.com/spf13/cobra/doc", testOnly: true,
			want: []string{"kvmctl/netbridge may not import github.com/spf13/cobra/doc: it belongs to configs or cmd"}},
		{name: "testing in production", from: "kvmctl/vm", to: "testing/fstest",
			want: []string{"kvmctl/vm may not import testing/fstest outside of its tests"}},
		{name: "testing in a test's package", from: "kvmctl/vm/qmp/qmptest", to: "testing"},
		{name: "a model in production", from: "kvmctl/vm/qmp", to: "kvmctl/vm/qmp/qmptest",
			want: []string{"kvmctl/vm/qmp may not import kvmctl/vm/qmp/qmptest outside of its tests"}},
		{name: "an unknown room", from: "kvmctl/pkg/util", to: "fmt", want: []string{"kvmctl/pkg/util is in no room of the rule"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, breaches(tt.from, tt.to, tt.testOnly)); d != "" {
				t.Errorf("breaches (-want +got):\n%s", d)
			}
		})
	}
}

func TestFilesStayShort(t *testing.T) {
	const most = 400 // lines; 300 is the aim
	for _, p := range list(t, root(t)) {
		for _, name := range p.GoFiles {
			data, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(data, []byte("\n")); n > most {
				t.Errorf("%s/%s has %d lines, more than %d: split it", p.ImportPath, name, n, most)
			}
		}
	}
}

func TestThereAreNoOtherRooms(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	rooms := []string{"cmd", "vm", "netbridge", "ha", "configs", "docs", "man", "contrib", "test", "internal", "bin"}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(rooms, e.Name()) {
			t.Errorf("%s is no room of the house (%v)", e.Name(), rooms)
		}
	}
}

// root is the directory of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
