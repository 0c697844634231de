package ha

import (
	"crypto/subtle"
	"log/slog"
)

// secretText is what a secret shows instead of itself.
const secretText = "[secret]"

// Secret is a password. It never prints itself: not by fmt, log/slog or encoding/json, and not from within an unexported field either, where fmt
// does not ask a value how it wants to be shown. The zero value is the empty secret.
type Secret struct{ text *string }

// NewSecret keeps text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal gives the password itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is none.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal compares two secrets in a time that tells nothing of where they differ.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// String gives a word that stands for the password.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return secretText
}

// GoString does for %#v what String does for %v.
func (s Secret) GoString() string { return "ha.Secret{" + s.String() + "}" }

// LogValue does the same for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText does the same for encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
