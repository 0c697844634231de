package strict

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// at gives "line:col line:col" of a path's key and value, or "-".
func at(text, path string) string {
	p, ok := Locate(text).Places[path]
	if !ok {
		return "-"
	}
	l1, c1 := Position(text, p.Key)
	l2, c2 := Position(text, p.Value)
	return fmt.Sprintf("%d:%d %d:%d", l1, c1, l2, c2)
}

func TestTheLocatorFindsKeysAndValues(t *testing.T) {
	tests := []struct{ name, text, path, want string }{
		{"a bare key", "memory = 1", "memory", "1:1 1:10"},
		{"an indented key after blank lines", "\n\n  memory=1", "memory", "3:3 3:10"},
		{"CRLF", "a = 1\r\nb = 2\r\n", "b", "2:1 2:5"},
		{"columns count characters", "\"ä\" = 'ö'", `"ä"`, "1:1 1:7"},
		{"behind a comment with brackets", "# [x] = {\na = 1", "a", "2:1 2:5"},
		{"below a table", "[vnc]\ndisplay = 1", "vnc.display", "2:1 2:11"},
		{"a table itself", "\n [vnc]", "vnc", "2:3 2:2"},
		{"a missing key", "[vnc]\ndisplay = 1", "vnc.listen", "-"},
		{"the first of several tables", "[[disk]]\nimage = 'a'\n[[disk]]\nimage = 'b'", "disk[0].image", "2:1 2:9"},
		{"the second of several tables", "[[disk]]\nimage = 'a'\n[[disk]]\nimage = 'b'", "disk[1].image", "4:1 4:9"},
		{"the header of the second", "[[disk]]\nimage = 'a'\n[[disk]]\nimage = 'b'", "disk[1]", "3:1 3:1"},
		{"a table below the last of several", "[[a]]\n[[a]]\n[a.b]\nc = 1", "a[1].b.c", "4:1 4:5"},
		{"several below several", "[[a]]\n[[a.b]]\n[[a]]\n[[a.b]]\n[[a.b]]\nc = 1", "a[1].b[1].c", "6:1 6:5"},
		{"a dotted key", "vnc . display = 1", "vnc.display", "1:7 1:17"},
		{"the table of a dotted key", "vnc.display = 1", "vnc", "1:1 1:1"},
		{"a quoted key", "\"me\\u006dory\" = 1", "memory", "1:1 1:17"},
		{"a literal key with a dot", "'a.b' = 1", `"a.b"`, "1:1 1:9"},
		{"an inline table", "vnc = { display = 1, listen = 'x' }", "vnc.listen", "1:22 1:31"},
		{"a list of inline tables", "disk = [{image = 'a'},\n {image = 'b'}]", "disk[1].image", "2:3 2:11"},
		{"an element of a list over lines", "a = [ # one\n  1, # two\n  'x]', 3,\n]", "a[2]", "3:9 3:9"},
		{"a list of lists", "a = [[1, 2], [3]]", "a[1][0]", "1:15 1:15"},
		{"behind a string over lines", "a = \"\"\"\nb = 1\n\\\"\"\"\"\"\nc = 2", "c", "4:1 4:5"},
		{"not inside a string over lines", "a = '''\nb = 1\n'''", "b", "-"},
		{"behind an empty string over lines", "a = ''''''\nc = 2", "c", "2:1 2:5"},
		{"behind a quoted bracket", "a = \"\\\"]\"\nb = 1", "b", "2:1 2:5"},
		{"behind a date with a blank", "a = 2020-01-01 10:00:00\nb = 1", "b", "2:1 2:5"},
		{"what stands before a mistake", "a = 1\nb = \"x\nc = 1", "b", "2:1 2:5"},
	}
	for _, tt := range tests {
		if got := at(tt.text, tt.path); got != tt.want {
			t.Errorf("%s: %q of %q: got %s, want %s", tt.name, tt.path, tt.text, got, tt.want)
		}
	}
}

func TestTooMuchNestingIsFoundBeforeTheDecoderSeesIt(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":            "a = " + strings.Repeat("[", 500_000),
		"brackets over lines": "a = " + strings.Repeat("[\n", 300_000),
		"inline tables":       "a = " + strings.Repeat("{a=", 300_000),
		"a dotted key":        "a" + strings.Repeat(".a", 500_000) + " = 1",
		"a dotted header":     "[a" + strings.Repeat(". a", 300_000) + "]",
		"many inline tables":  "x = {" + strings.Repeat("a.a.a.a.a.a.a.a={", 50_000),
	} {
		problems := Parse("vm.toml", []byte(text), nil).Problems
		if len(problems) != 1 || problems[0].Msg != "keys or brackets nested too deep" {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// checkLocated holds the locator against the decoder: whatever the decoder finds has a place, and there stands the key.
func checkLocated(t *testing.T, text string) {
	t.Helper()
	l := Locate(text)
	var tree map[string]any
	if l.Deep >= 0 {
		return
	}
	if _, err := toml.Decode(text, &tree); err != nil {
		return
	}
	if l.at != len(text) {
		t.Fatalf("%q: the locator stopped at %d, the decoder did not", text, l.at)
	}
	var walk func(path string, x any)
	walk = func(path string, x any) {
		p, ok := l.Places[path]
		if !ok {
			t.Fatalf("%q: no place for %s", text, path)
		}
		if p.Key < 0 || p.Key > len(text) || p.Value < p.Key && path != "" && text[p.Value] != '[' {
			t.Fatalf("%q: %s is at %+v", text, path, p)
		}
		switch x := x.(type) {
		case map[string]any:
			for name, y := range x {
				sub := Join(path, name)
				walk(sub, y)
				k := &Locator{text: text, at: l.Places[sub].Key}
				if got, ok := k.keyName(); !ok || got != name {
					t.Fatalf("%q: at the place of %s stands %q", text, sub, got)
				}
			}
		case []map[string]any:
			for i, y := range x {
				walk(Element(path, i), y)
			}
		case []any:
			for i, y := range x {
				walk(Element(path, i), y)
			}
		}
	}
	walk("", tree)
}

func FuzzLocator(f *testing.F) {
	for _, file := range []string{"../vm.reference.toml", "../kvm.reference.toml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("a.b.c = [{x = 1, y = {}}, {x.z = [[1], []]}]\n[[d.e]]\n[d.e.f]\n'g h' = \"\"\"\n\"\" \"\"\"\"\"\r\n[[d.e]]")
	f.Add("a = {b = 1, # c\n d = '''x''',\n}\n\"\\x41\\e\" = 1979-05-27 07:32:00\n[ x . 'y' ]\nz=-inf")
	f.Fuzz(func(t *testing.T, text string) {
		if utf8.ValidString(text) { // anything else is refused before
			checkLocated(t, strings.TrimLeft(text, "\ufeff"))
		}
	})
}
