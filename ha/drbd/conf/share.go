package conf

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Main is where drbdadm begins to read.
const Main = "/etc/drbd.conf"

// Share gives the files that Load would read, for another machine to read from the Memory with the same places and the same meaning. Each
// secret is a digest there, and what nobody reads is blank: comments and skipped sections, which may hold an old one. An error is Load's.
func Share(source Source, files ...string) (Memory, error) {
	texts := &Recorder{Source: source, Texts: Memory{}}
	p := newParser(texts, "")
	p.shared = shared{}
	if err := p.files(files); err != nil {
		return nil, err
	}
	all := Memory{}
	for name, text := range texts.Texts {
		all[name] = p.shared.file(name).hide(text)
	}
	return all, nil
}

// shared has what stays here, by the name of the file.
type shared map[string]*private

func (s shared) file(name string) *private {
	if s == nil {
		return nil
	}
	if s[name] == nil {
		s[name] = &private{}
	}
	return s[name]
}

// private are the parts of a text that stay here. The nil one notes nothing.
type private struct {
	blanks [][2]int // from byte to byte, in order; skipped sections hold others
	words  []struct {
		from, to int
		with     string
	} // in order
}

func (p *private) blank(from, to int) {
	if p != nil {
		p.blanks = append(p.blanks, [2]int{from, to})
	}
}

func (p *private) replace(from, to int, with string) {
	if p != nil {
		p.words = append(p.words, struct {
			from, to int
			with     string
		}{from, to, with})
	}
}

// hide gives the text without them, each line at its place.
func (p *private) hide(text []byte) []byte {
	text = slices.Clone(text)
	for _, b := range p.blanks {
		for i := b[0]; i < b[1]; i++ {
			if text[i] != '\n' {
				text[i] = ' '
			}
		}
	}
	var out []byte
	at := 0
	for _, w := range p.words {
		out = append(append(out, text[at:w.from]...), w.with...)
		at = w.to
	}
	return append(out, text[at:]...)
}

// unknownName stands for the name of an option that may be a secret itself.
const unknownName = "hidden"

// A secret's digest in a shared text: longer than DRBD allows a secret to be (SHARED_SECRET_MAX, 64 with its NUL), so that no secret is taken for one.
const (
	maskBegins = "(sha256 "
	maskEnds   = ")"
)

// mask is what stands for a secret where another machine reads it.
func (v Value) mask() string {
	return `"` + maskBegins + hex.EncodeToString(v.digest[:]) + maskEnds + `"`
}

// masked finds the digest in it.
func masked(text string) (digest [sha256.Size]byte, is bool) {
	rest, begins := strings.CutPrefix(text, maskBegins)
	rest, ends := strings.CutSuffix(rest, maskEnds)
	if !begins || !ends || len(rest) != 2*len(digest) {
		return digest, false
	}
	_, err := hex.Decode(digest[:], []byte(rest))
	return digest, err == nil
}
