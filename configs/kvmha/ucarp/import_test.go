package ucarp

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"kvmctl/configs/kvmha"
	"kvmctl/configs/strict"
	"kvmctl/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the expected files in testdata")

// imported reads an archive: "default", "interface/NAME", "interfaces" (interfaces(5)), or "args" (a word a line).
func imported(a *txtar.Archive) (Import, error) {
	var common *Source
	var each, networks []Source
	for _, f := range a.Files {
		switch name := f.Name; {
		case name == "args":
			return Args(strings.Split(strings.TrimSuffix(string(f.Data), "\n"), "\n"))
		case name == "default":
			common = &Source{name, f.Data}
		case strings.HasPrefix(name, "interface/"):
			each = append(each, Source{name, f.Data})
		case name == "interfaces":
			networks = append(networks, Source{name, f.Data})
		}
	}
	return Files(common, each, networks...)
}

// reload loads what was rendered, with the passwords where it says they are.
func reload(text string, passwords []Password) strict.Problems {
	look := func(path string) (kvmha.File, error) {
		for _, p := range passwords {
			if p.File == path {
				return kvmha.File{Text: []byte(p.Text.Reveal() + "\n"), Mode: 0o600}, nil
			}
		}
		if path == "/etc/ucarp/passfile" {
			return kvmha.File{Text: []byte("hunter2\n"), Mode: 0o600}, nil
		}
		return kvmha.File{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	_, problems := kvmha.Parse("/etc/kvmha.toml", kvmha.File{Text: []byte(text), Mode: 0o644}, look)
	return problems
}

// TestWhatIsImported reads each archive of testdata and compares what comes out with its last files: "kvmha.toml", which loads strictly, and
// "notes"; or "error".
func TestWhatIsImported(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d archives: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			im, err := imported(a)
			if err != nil {
				got["error"] = err.Error() + "\n"
			} else {
				text, passwords := im.Render("/etc/kvmha")
				got["kvmha.toml"], got["notes"] = text, strings.Join(im.Notes, "\n")+"\n"
				for _, p := range reload(text, passwords) {
					t.Errorf("what is written does not load: %v", p)
				}
			}
			for name, text := range got {
				if strings.Contains(text, "hunter") {
					t.Errorf("a password shows in %s:\n%s", name, text)
				}
			}
			isOutput := func(f txtar.File) bool { return slices.Contains([]string{"kvmha.toml", "notes", "error"}, f.Name) }
			want := map[string]string{}
			for _, f := range a.Files {
				if isOutput(f) {
					want[f.Name] = string(f.Data)
				}
			}
			if *update {
				a.Files = slices.DeleteFunc(a.Files, isOutput)
				for _, name := range []string{"kvmha.toml", "notes", "error"} {
					if text, ok := got[name]; ok {
						a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
					}
				}
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheOptionsAreThoseOfUCARP asks the real one.
func TestTheOptionsAreThoseOfUCARP(t *testing.T) {
	testenv.Need(t, testenv.Netns, "ucarp")
	help, _ := exec.CommandContext(t.Context(), "ucarp", "--help").CombinedOutput() // its exit code means nothing
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^--([a-z]+)(=<[a-z]+>)? \(-([A-Za-z])( <[a-z]+>)?\):`).FindAllStringSubmatch(string(help), -1) {
		want = append(want, fmt.Sprint(m[1], " ", m[3], " ", m[2] != ""))
	}
	for _, x := range options {
		got = append(got, fmt.Sprint(x.long, " ", string(rune(x.short)), " ", x.value))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
		t.Errorf("options (-ucarp +ours):\n%s\n%s", diff, help)
	}
}

func TestCommandLinesAreReadAsGetoptDoes(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"short, value in the next word", "-i eth0 -v 1", "interface=eth0 vhid=1"},
		{"short, value in the same word", "-ieth0 -v1", "interface=eth0 vhid=1"},
		{"bundled", "-Pzieth0", "interface=eth0 preempt= shutdown="},
		{"long with =", "--interface=eth0 --preempt", "interface=eth0 preempt="},
		{"long, value in the next word", "--interface eth0", "interface=eth0"},
		{"a long one cut short", "--int eth0 --adv=1", "--adv: may be --advbase or --advskew"},
		{"the exact name of what another one begins with", "--pass x", "pass=x"},
		{"the last one counts", "-v 1 -v 2", "vhid=2"},
		{"a value that looks like an option", "-x -P", "xparam=-P"},
		{"the program's name first", "/usr/sbin/ucarp -P", "preempt="},
		{"no value", "-P -i", "-i: wants a value"},
		{"no value of a long one", "--pass", "--pass: wants a value"},
		{"a value that is not taken", "--preempt=yes", "--preempt: takes no value"},
		{"unknown", "--frobnicate", "--frobnicate: ucarp has no such option"},
		{"unknown short", "-Pq", "-q: ucarp has no such option"},
		{"no option", "eth0", "word 1: no option: ucarp takes options only"},
		{"behind --", "-P -- eth0", "word 3: ucarp takes options only"},
	}
	for _, tt := range tests {
		o, err := ParseArgs(strings.Fields(tt.line))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			var all []string
			for k, v := range o.values {
				all = append(all, k+"="+v)
			}
			slices.Sort(all)
			got = strings.Join(all, " ")
		}
		if got != tt.want {
			t.Errorf("%s: %q: got %q, want %q", tt.name, tt.line, got, tt.want)
		}
	}
}

// TestFilesAreReadAsAShellDoes holds each line against the real sh; what needs more than an assignment is passed over.
func TestFilesAreReadAsAShellDoes(t *testing.T) {
	for _, tt := range []struct {
		line string
		ok   bool
	}{
		{`A=plain`, true}, {`A=`, true}, {`A="with blanks"`, true}, {`A='single $B "x"'`, true}, {`A=mi"x e"d'q u'o\ ted`, true}, {`export A=x`, true},
		{`  A=x   # a comment`, true}, {`A=x;`, true}, {`A="esc \" \$ \\ \n"`, true}, {`A=a*b?[c]`, true}, {`A=x#y`, true}, {`A=a~b`, true},
		{`B=in; A=x`, false}, {"B=in\nA=$B", true}, {"B=in\nA=\"<${B}>\"", true}, {"B=in\nA='$B'", true}, {"A=one\\\ntwo", true}, {`A=é=ü`, true},
		{`A=$(id)`, false}, {"A=`id`", false}, {`A="$(id)"`, false}, {`A=~root`, false}, {`A=$UNKNOWN`, false}, {`A=x y`, false}, {`A="open`, false},
		{`[ -f /x ] && A=y`, false}, {`A=(1 2)`, false}, {`A=x & true`, false}, {`. /etc/other`, false}, {`A+=x`, false}, {`if true; then`, false},
	} {
		list, skipped, err := ParseShell([]byte(tt.line + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		value, found := "", false
		for _, a := range list {
			if a.Name == "A" {
				value, found = a.Value, true
			}
		}
		if found != tt.ok || found == (len(skipped) > 0) {
			t.Errorf("%q: read %v, skipped %v", tt.line, list, skipped)
		}
		if !tt.ok {
			continue
		}
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(tt.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `. "$0"; printf %s "$A"`, file).Output()
		if err != nil || string(out) != value {
			t.Errorf("%q: sh has %q (%v), we %q", tt.line, out, err, value)
		}
	}
}

func TestWhatIsTooMuchIsRefused(t *testing.T) {
	var fe *FileError
	for name, text := range map[string]string{
		"large": strings.Repeat("# x\n", 20000), "binary": "A=\x00", "latin1": "A=\xe9", "lines": strings.Repeat("\n", 3000),
	} {
		if _, _, err := ParseShell([]byte(text)); !errors.As(err, &fe) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var ae *ArgumentError
	for name, args := range map[string][]string{"many": slices.Repeat([]string{"-P"}, 300), "long": {"-p", strings.Repeat("x", 5000)}, "newline": {"-x\ny"}} {
		if _, err := ParseArgs(args); !errors.As(err, &ae) && name != "long" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzImport reads any bytes as a file and as a command line: what comes out shows no password, and loads strictly but for what the notes say.
func FuzzImport(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, read := range []func() (Import, error){
			func() (Import, error) { return Files(&Source{"default", text}, nil) },
			func() (Import, error) { return Files(nil, []Source{{"a/eth0", text}, {"b/eth0", text}}) },
			func() (Import, error) { return Args(strings.Split(string(text), "\n")) },
		} {
			im, err := read()
			if err != nil {
				continue
			}
			out, passwords := im.Render("/etc/kvmha")
			for _, p := range reload(out, passwords) {
				// Twice the same file: twice the same address. What ucarp takes and kvmha does not is the interface's name or the password.
				if !regexp.MustCompile(`already|password|interface|absolute|control character|is empty|UTF-8`).MatchString(p.Msg) {
					t.Errorf("%q gives\n%s\nwhich does not load: %v", text, out, p)
				}
			}
			for _, p := range passwords {
				if secret := p.Text.Reveal(); len(secret) > 12 && strings.Contains(out+strings.Join(im.Notes, "\n"), secret) && strings.Count(string(text), secret) == 1 {
					t.Errorf("the password shows:\n%s\n%q", out, im.Notes)
				}
			}
		}
	})
}

// FuzzInterfaces reads anything as interfaces(5): what is taken for a ucarp has an interface, and nothing is longer than what was read.
func FuzzInterfaces(f *testing.F) {
	f.Add([]byte("auto eth0\niface eth0 inet static\n ucarp-vid 1\n ucarp-vip \\\n 10.0.0.1\n ucarp-master no\n ucarp-x y\n"))
	f.Add([]byte("iface\nucarp-vid 1\niface eth0\n\tucarp-\n\tucarp-password a b\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseInterfaces(Source{"interfaces", text})
		if err != nil {
			return
		}
		for _, s := range all {
			if s.iface == "" || s.line < 1 {
				t.Errorf("%+v", s)
			}
			for _, v := range s.options.values {
				if len(v) > len(text) {
					t.Errorf("%q of %q", v, text)
				}
			}
		}
	})
}
