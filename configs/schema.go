package configs

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"

	"kvmctl/internal/units"
)

// kind is what a key's value has to be.
type kind int

const (
	kindString kind = iota
	kindBool
	kindInt
	kindSize
	kindDuration
	kindStrings
	kindMAC
	kindDisplay
	kindAddress
	kindHostAddress
	kindRate
	kindInts
	kindVLANs
	kindTable
	kindTables
)

// kinds maps the Go types that a raw struct may hold.
var kinds = map[reflect.Type]kind{
	reflect.TypeFor[*string]():         kindString,
	reflect.TypeFor[*bool]():           kindBool,
	reflect.TypeFor[*int]():            kindInt,
	reflect.TypeFor[*units.Size]():     kindSize,
	reflect.TypeFor[*units.Duration](): kindDuration,
	reflect.TypeFor[[]string]():        kindStrings,
	reflect.TypeFor[*macValue]():       kindMAC,
	reflect.TypeFor[*displayValue]():   kindDisplay,
	reflect.TypeFor[*netip.Addr]():     kindAddress,
	reflect.TypeFor[*addressValue]():   kindHostAddress,
	reflect.TypeFor[*units.Rate]():     kindRate,
	reflect.TypeFor[[]int]():           kindInts,
	reflect.TypeFor[units.VLANs]():     kindVLANs,
}

// field is one key: the struct tags of a raw struct, read once.
type field struct {
	name    string
	index   int
	kind    kind
	choices []string // `enum`: the only values
	lo, hi  int64    // `range`: for an int as it is, for a size in bytes, for a duration in nanoseconds, for a rate in bits/s; both 0: none
	span    string   // `range` in words: "4M to 4T"
	example string   // `eg`: a value that would do, as written in the file
	empty   bool     // `empty:"ok"`: an empty string says something
	lines   bool     // `lines:"ok"`: may have several lines
	sub     *schema  // of a table
}

// schema holds the keys of one table.
type schema struct {
	fields []field
	byName map[string]*field
}

func (s *schema) names() []string {
	out := make([]string, len(s.fields))
	for i := range s.fields {
		out[i] = s.fields[i].name
	}
	return out
}

var (
	guestSchema = sync.OnceValue(func() *schema { return schemaOf(reflect.TypeFor[rawGuest]()) })
	hostSchema  = sync.OnceValue(func() *schema { return schemaOf(reflect.TypeFor[rawHost]()) })
)

// schemaOf reads a raw struct's tags; a wrong tag is a mistake of ours and panics in the first test that loads anything.
func schemaOf(t reflect.Type) *schema {
	s := &schema{byName: map[string]*field{}}
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		f := field{
			name: tag.Get("toml"), index: i, choices: strings.Fields(tag.Get("enum")), example: tag.Get("eg"),
			empty: tag.Get("empty") == "ok", lines: tag.Get("lines") == "ok",
		}
		k, ok := kinds[t.Field(i).Type]
		switch ft := t.Field(i).Type; {
		case ok:
			f.kind = k
		case ft.Kind() == reflect.Struct:
			f.kind, f.sub = kindTable, schemaOf(ft)
		case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct:
			f.kind, f.sub = kindTables, schemaOf(ft.Elem())
		default:
			panic(fmt.Sprintf("configs: no kind for %s.%s", t, t.Field(i).Name))
		}
		if lo, hi, ok := strings.Cut(tag.Get("range"), ".."); ok {
			f.lo, f.hi, f.span = bound(f.kind, lo), bound(f.kind, hi), lo+" to "+hi
		}
		s.fields = append(s.fields, f)
	}
	for i := range s.fields {
		s.byName[s.fields[i].name] = &s.fields[i]
	}
	return s
}

func bound(k kind, text string) int64 {
	var n int64
	var err error
	switch k {
	case kindSize:
		var v units.Size
		v, err = units.ParseSize(text)
		n = int64(v)
	case kindDuration:
		var v time.Duration
		v, err = time.ParseDuration(text)
		n = int64(v)
	case kindRate:
		var v units.Rate
		v, err = units.ParseRate(text)
		n = int64(v)
	default:
		_, err = fmt.Sscan(text, &n)
	}
	if err != nil {
		panic(fmt.Sprintf("configs: bad range bound %q: %v", text, err))
	}
	return n
}

// wants says in a user's words what a key takes.
func (f *field) wants() string {
	switch {
	case len(f.choices) > 0 && f.kind == kindStrings:
		return "a list of " + alternatives(f.choices)
	case len(f.choices) > 0:
		return alternatives(f.choices)
	}
	switch f.kind {
	case kindBool:
		return "true or false"
	case kindInt:
		return "a whole number"
	case kindSize:
		return "a size such as " + quote(f.example)
	case kindDuration:
		return "a duration such as " + quote(f.example)
	case kindStrings:
		return "a list of strings"
	case kindMAC:
		return `"auto" or a MAC address such as "52:54:00:12:34:56"`
	case kindDisplay:
		return `"auto", "none" or a display number`
	case kindAddress:
		return "an IP address such as " + quote(f.example)
	case kindHostAddress:
		return `an IP address with its prefix length such as ` + quote(f.example) + ` or "keep"`
	case kindRate:
		return "a rate such as " + quote(f.example)
	case kindInts:
		return "a list of whole numbers such as " + f.example
	case kindVLANs:
		return "a list of VLAN ids and ranges such as " + f.example
	case kindTable:
		return "one [" + f.name + "] table"
	case kindTables:
		return "[[" + f.name + "]] tables"
	}
	return "a string"
}

// alternatives gives `"a", "b" or "c"`.
func alternatives(words []string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(quote(w))
	}
	return b.String()
}
