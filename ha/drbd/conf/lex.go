package conf

import "strings"

// maxWord and maxString are drbdadm's own bounds, in bytes (drbdadm_scanner.fl of drbd-utils).
const (
	maxWord   = 128
	maxString = 255
)

// kind is what a token is.
type kind byte

const (
	end    kind = iota // of the file
	word               // letters, digits and / . _ -
	quoted             // without its quotes
	mark               // one of { } ; [ ] :
)

type token struct {
	kind kind
	text string
	at   Position
}

// is reports a keyword or a mark; what is quoted is neither.
func (t token) is(text string) bool { return t.kind != quoted && t.kind != end && t.text == text }

// says describes a token without repeating what may be a secret.
func (t token) says() string {
	switch {
	case t.kind == end:
		return "the end of the file"
	case t.kind == quoted:
		return "a quoted string"
	case t.kind == mark || keywords[t.text]:
		return `"` + t.text + `"`
	}
	return "another word"
}

// keywords may be repeated in errors.
var keywords = func() map[string]bool {
	all := map[string]bool{}
	for _, k := range strings.Fields(`global common resource skip include on floating stacked-on-top-of disk device meta-disk flexible-meta-disk
		address volume net syncer startup handlers options proxy connection connection-mesh path host hosts port via protocol minor node-id`) {
		all[k] = true
	}
	for _, names := range known {
		for name := range names {
			all[name] = true
		}
	}
	return all
}()

type lexer struct {
	text         string
	file         string
	i            int      // next byte
	first        int      // of the last token
	line, begins int      // the line's number and where it begins
	masked       int      // the line of a secret's digest: how long the secret was nobody says, and so no column behind it is known
	private      *private // of Share; else nil
}

func (l *lexer) at(i int) Position {
	if l.masked == l.line {
		return Position{File: l.file, Line: l.line}
	}
	return Position{l.file, l.line, i - l.begins + 1}
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '/' || c == '.' || c == '_' || c == '-'
}

// next gives the next token.
func (l *lexer) next() (token, error) {
	l.blanks()
	if l.i >= len(l.text) {
		return token{kind: end, at: l.at(l.i)}, nil
	}
	first, c := l.i, l.text[l.i]
	at := l.at(first)
	l.first = first
	switch {
	case strings.IndexByte("{};[]:", c) >= 0:
		l.i++
		return token{mark, string(c), at}, nil
	case c == '"':
		return l.quote(at)
	case !isWord(c):
		return token{}, &Error{At: at, Why: meaningless(l.text[first:])}
	}
	for l.i < len(l.text) && isWord(l.text[l.i]) {
		l.i++
	}
	if l.i-first > maxWord {
		return token{}, &Error{At: at, Why: "a word of more than 128 bytes"}
	}
	return token{word, l.text[first:l.i], at}, nil
}

// meaningless names what nobody sees in an editor; all else may be a part of a secret.
func meaningless(text string) string {
	switch {
	case strings.HasPrefix(text, "\ufeff"):
		return "a byte order mark, which drbdadm does not know: save the file as UTF-8 without it"
	case text[0] == 0:
		return "a NUL byte"
	}
	return "a character that has no meaning here"
}

// blanks passes over white space and comments.
func (l *lexer) blanks() {
	for ; l.i < len(l.text); l.i++ {
		switch l.text[l.i] {
		case ' ', '\t', '\r':
		case '\n':
			l.line, l.begins = l.line+1, l.i+1
		case '#':
			rest := strings.IndexByte(l.text[l.i:], '\n')
			if rest < 0 {
				rest = len(l.text) - l.i
			}
			l.private.blank(l.i, l.i+rest)
			l.i += rest - 1
		default:
			return
		}
	}
}

// quote reads a string on one line; a backslash takes the next character as it is.
func (l *lexer) quote(at Position) (token, error) {
	var b strings.Builder
	for l.i++; l.i < len(l.text); l.i++ {
		switch c := l.text[l.i]; c {
		case '"':
			l.i++
			if _, is := masked(b.String()); is {
				l.masked = l.line
			}
			return token{quoted, b.String(), at}, nil
		case '\n':
			return token{}, &Error{At: at, Why: "a quoted string that does not end on its line"}
		case '\\':
			if l.i++; l.i >= len(l.text) || l.text[l.i] == '\n' {
				return token{}, &Error{At: at, Why: "a quoted string that does not end on its line"}
			}
		}
		if b.Len() >= maxString {
			return token{}, &Error{At: at, Why: "a quoted string of more than 255 bytes"}
		}
		b.WriteByte(l.text[l.i])
	}
	return token{}, &Error{At: at, Why: "a quoted string that does not end on its line"}
}

// bracketed reads up to the bracket that closes, for IPv6 addresses: their zone may hold what is no word.
func (l *lexer) bracketed() (Value, error) {
	const longest = 64
	l.blanks()
	at := l.at(l.i)
	rest := l.text[l.i:min(len(l.text), l.i+longest)]
	n := strings.IndexAny(rest, "]\n")
	if n < 0 || rest[n] != ']' {
		return Value{}, &Error{At: at, Why: `an IPv6 address without its "]"`}
	}
	l.i += n + 1
	return Value{Text: strings.TrimSpace(rest[:n]), At: at}, nil
}
