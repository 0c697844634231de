package conf

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
)

// Position is a place in a file; line and column count from 1, the column in bytes.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`   // 0: the file as a whole
	Column int    `json:"column,omitempty"` // 0: the line as a whole
}

func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return p.File + ":" + strconv.Itoa(p.Line)
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// IsZero reports that there is no place.
func (p Position) IsZero() bool { return p == Position{} }

// Error is a file that drbdadm would not take either, and where.
type Error struct {
	At   Position
	Why  string
	Near string // what was probably meant; may be empty
	err  error
}

func (e *Error) Error() string {
	text := e.At.String() + ": " + e.Why
	if e.Near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", e.Near)
	}
	return text
}

// Unwrap gives the cause outside of the text, such as fs.ErrNotExist; mostly nil.
func (e *Error) Unwrap() error { return e.err }

// BadConfig makes it an error in a file of the user's.
func (*Error) BadConfig() bool { return true }

// hidden stands for a secret.
const hidden = "(hidden)"

// Value is a word or a quoted string of a file.
type Value struct {
	Text   string // "(hidden)" for a secret
	At     Position
	digest [sha256.Size]byte // of a secret
}

func secret(v Value) Value {
	if digest, is := masked(v.Text); is {
		return Value{Text: hidden, At: v.At, digest: digest}
	}
	return Value{Text: hidden, At: v.At, digest: sha256.Sum256([]byte(v.Text))}
}

// Same reports whether both say the same, wherever they stand. Secrets are compared too.
func (v Value) Same(o Value) bool { return v.Text == o.Text && v.digest == o.digest }

func (v Value) String() string { return v.Text }

// MarshalJSON gives the text alone.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(v.Text) }

// Number reads a number with drbd.conf's suffixes: K, M and G are powers of 1024, s is a sector of 512 bytes. scale multiplies one without a suffix.
func Number(text string, scale uint64) (uint64, bool) {
	if text == "" {
		return 0, false
	}
	digits := text[:len(text)-1]
	switch text[len(text)-1] {
	case 'k', 'K':
		scale = 1 << 10
	case 'm', 'M':
		scale = 1 << 20
	case 'g', 'G':
		scale = 1 << 30
	case 's', 'S':
		scale = 512
	default:
		digits = text
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return n * scale, err == nil
}
