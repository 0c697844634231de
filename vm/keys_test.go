package vm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestChordsAreReadAsPeopleWriteThem(t *testing.T) {
	tests := []struct{ in, want, hint string }{
		{"ctrl-alt-f1", "[ctrl alt f1]", ""},
		{"Ctrl-Alt-Del", "[ctrl alt delete]", ""},
		{"enter", "[ret]", ""},
		{"shift-a", "[shift a]", ""},
		{"-", "[minus]", ""},
		{"/", "[slash]", ""},
		{"ctrl-;", "[ctrl semicolon]", ""},
		{"kp_enter", "[kp_enter]", ""},
		{"", `"" is no key`, "names complete with Tab; text is sent by --text"},
		{"ctrl--", `"" is no key`, "names complete with Tab; text is sent by --text"},
		{"root", `"root" is no key`, "names complete with Tab; text is sent by --text"},
		{"ctrl-altt-f1", `"altt" is no key`, `did you mean "alt"?`},
		{"unmapped", `"unmapped" is no key`, "names complete with Tab; text is sent by --text"},
		{"?", `"?" is no key`, "names complete with Tab; text is sent by --text"},
		{"a-b-a", `"a-b-a" has a key twice`, ""},
		{"enter-ret", `"enter-ret" has a key twice`, ""},
		{"a-b-c-d-e-f-g-h-i-j-k", `"a-b-c-d-e-f-g-h-i-j-k" has 11 keys: at most 10 are pressed together`, ""},
	}
	for _, tt := range tests {
		c, err := ParseChord(tt.in)
		got, hint := fmt.Sprint(c), ""
		if err != nil {
			got = err.Error()
			var k *KeyError
			if errors.As(err, &k) {
				hint = k.Hint()
			}
		}
		if got != tt.want || hint != tt.hint {
			t.Errorf("%q: got %s (%s), want %s (%s)", tt.in, got, hint, tt.want, tt.hint)
		}
	}
}

func TestTextBecomesStrokes(t *testing.T) {
	tests := []struct{ in, want string }{
		{`rO-_1!\n`, "[[r] [shift o] [minus] [shift minus] [1] [shift 1] [ret]]"},
		{`a\tb\\c\e`, "[[a] [tab] [b] [backslash] [c] [esc]]"},
		{`~"'`, "[[shift grave_accent] [shift apostrophe] [apostrophe]]"},
		{`caf` + "é", "byte 4 of the text is not on a US keyboard"},
		{"a\x01", "byte 2 of the text is on no key"},
		{"a\x7f", "byte 2 of the text is not on a US keyboard"},
		{"a\xff", "byte 2 of the text is not on a US keyboard"},
		{`a\x`, `the text has \x, which is neither \n, \t, \e nor \\`},
		{`a\`, `the text ends with a lone backslash: write \\`},
		{strings.Repeat("x", 4097), "the text has 4097 bytes, and at most 4096 are typed at once"},
	}
	for _, tt := range tests {
		s, err := Unescape(tt.in)
		var c []Chord
		if err == nil {
			c, err = ParseText(s)
		}
		got := fmt.Sprint(c)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestEachPrintableCharacterIsOnAKey(t *testing.T) {
	seen := map[string]rune{}
	for r := ' '; r <= '~'; r++ {
		c, err := ParseText(string(r))
		if err != nil {
			t.Errorf("%q: %v", r, err)
			continue
		}
		if other, ok := seen[fmt.Sprint(c)]; ok {
			t.Errorf("%q and %q are both %v", r, other, c)
		}
		seen[fmt.Sprint(c)] = r
	}
	for alias, code := range keyAliases {
		if !slices.Contains(keyCodes, code) || slices.Contains(keyCodes, alias) {
			t.Errorf("alias %q of %q", alias, code)
		}
	}
}

func FuzzParseChord(f *testing.F) {
	for _, s := range []string{"ctrl-alt-f1", "-", "--", "Ä-x", "a+b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseChord(s)
		if (err == nil) == (len(c) == 0) {
			t.Errorf("%q: %v, %v", s, c, err)
		}
		for _, k := range c {
			if !slices.Contains(keyCodes, k) {
				t.Errorf("%q gave the key %q", s, k)
			}
		}
	})
}
