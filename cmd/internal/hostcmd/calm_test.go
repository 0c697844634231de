package hostcmd

import (
	"bytes"
	"testing"
)

func TestWhatIsShownAgainAsksTheTerminalNothing(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"text", "login: \r\n\tüß\b", "login: \r\n\tüß\b"},
		{"colours", "\x1b[1;31mred\x1b[0m \x1b[38:5:1mx\x1b[m", "\x1b[1;31mred\x1b[0m \x1b[38:5:1mx\x1b[m"},
		{"where is the cursor", "guest# \x1b[6nls", "guest# ls"},
		{"what are you", "a\x1b[c\x1b[>c\x1bZ\x05b", "ab"},
		{"private relatives of colours", "a\x1b[>4;2m\x1b[?4mb", "ab"},
		{"clear, move, other screen", "a\x1b[2J\x1b[H\x1b[?1049hb", "ab"},
		{"title and clipboard", "a\x1b]0;title\x07b\x1b]52;c;?\x1b\\c", "abc"},
		{"device control", "a\x1bP$qm\x1b\\b", "ab"},
		{"a title without an end ends with its line", "a\x1b]0;title\nb", "ab"},
		{"character sets", "a\x1b(0b\x1b(Bc", "abc"},
		{"8-bit controls", "a\xc2\x9b6nb\xc2\xa0c", "a6nb\xc2\xa0c"},
		{"bell and delete", "a\x07\x7fb\x00c", "abc"},
		{"a sequence cut by another", "a\x1b[12\x1b[6nb", "ab"},
		{"a sequence cut by a line's end", "a\x1b[12\nb", "a\nb"},
		{"a sequence without an end", "a\x1b[" + string(bytes.Repeat([]byte("1"), 100)) + "b", "a" + string(bytes.Repeat([]byte("1"), 36)) + "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var whole, split bytes.Buffer
			w := &calm{w: &whole}
			if n, err := w.Write([]byte(c.in)); n != len(c.in) || err != nil {
				t.Errorf("Write gave %d, %v, want %d and no error", n, err, len(c.in))
			}
			if whole.String() != c.want {
				t.Errorf("%q became %q, want %q", c.in, whole.String(), c.want)
			}
			w = &calm{w: &split}
			for i := range len(c.in) {
				w.Write([]byte{c.in[i]})
			}
			if split.String() != whole.String() {
				t.Errorf("byte by byte %q became %q, at once %q", c.in, split.String(), whole.String())
			}
		})
	}
}

func FuzzCalmLeavesOnlyTextAndColours(f *testing.F) {
	f.Add([]byte("a\x1b[6n\x1b[1mb\x1b]0;t\x07\xc2\x9bc"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out, again bytes.Buffer
		(&calm{w: &out}).Write(in)
		for i, b := range out.Bytes() {
			if b == esc && !colourAt(out.Bytes()[i:]) || b < 0x20 && !bytes.ContainsRune([]byte("\n\r\t\b\x1b"), rune(b)) {
				t.Fatalf("%q became %q: byte %d drives the terminal", in, out.Bytes(), i)
			}
		}
		(&calm{w: &again}).Write(out.Bytes())
		if !bytes.Equal(out.Bytes(), again.Bytes()) {
			t.Fatalf("%q became %q, and that %q", in, out.Bytes(), again.Bytes())
		}
	})
}

func colourAt(b []byte) bool {
	end := bytes.IndexByte(b, 'm')
	return len(b) > 2 && b[1] == '[' && end > 0 && plainColour(b[2:end])
}
