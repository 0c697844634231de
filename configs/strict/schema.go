package strict

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"kvmctl/internal/units"
)

// Kind is what a key's value has to be.
type Kind int

const (
	KindString Kind = iota
	KindBool
	KindInt
	KindSize
	KindDuration
	KindStrings
	KindMAC
	KindDisplay
	KindAddress
	KindHostAddress
	KindRate
	KindInts
	KindVLANs
	KindTable
	KindTables
	KindNamed // tables with names of the admin's: [group.web], [group.dns]
	KindAddresses
)

// kinds maps the Go types that a raw struct may hold.
var kinds = map[reflect.Type]Kind{
	reflect.TypeFor[*string]():         KindString,
	reflect.TypeFor[*bool]():           KindBool,
	reflect.TypeFor[*int]():            KindInt,
	reflect.TypeFor[*units.Size]():     KindSize,
	reflect.TypeFor[*units.Duration](): KindDuration,
	reflect.TypeFor[[]string]():        KindStrings,
	reflect.TypeFor[*MACValue]():       KindMAC,
	reflect.TypeFor[*DisplayValue]():   KindDisplay,
	reflect.TypeFor[*netip.Addr]():     KindAddress,
	reflect.TypeFor[*AddressValue]():   KindHostAddress,
	reflect.TypeFor[*units.Rate]():     KindRate,
	reflect.TypeFor[[]int]():           KindInts,
	reflect.TypeFor[units.VLANs]():     KindVLANs,
	reflect.TypeFor[[]netip.Addr]():    KindAddresses,
}

// Field is one key: the struct tags of a raw struct, read once.
type Field struct {
	Name    string
	index   int
	Kind    Kind
	Choices []string // `enum`: the only values
	lo, hi  int64    // `range`: for an int as it is, for a size in bytes, for a duration in nanoseconds, for a rate in bits/s; both 0: none
	Span    string   // `range` in words: "4M to 4T"
	example string   // `eg`: a value that would do, as written in the file
	empty   bool     // `empty:"ok"`: an empty string says something
	lines   bool     // `lines:"ok"`: may have several lines
	words   bool     // `words:"ok"`: of a list, arguments: a string in its place is meant as several
	single  bool     // `single:"ok"`: a string in place of a list is a list of that
	secret  bool     // `secret:"ok"`: no message shows its value
	Sub     *Schema  // of a table
}

// Schema holds the keys of one table.
type Schema struct {
	Fields []Field
	ByName map[string]*Field
	// Refused tells of keys that somebody may expect here and that are none: instead of "unknown key".
	Refused map[string]Refusal
}

// Refusal says why a key is not taken, and what can be done.
type Refusal struct{ Msg, Fix string }

// each calls f for every field of the schema and of the tables below it.
func (s *Schema) each(f func(*Field)) {
	for i := range s.Fields {
		f(&s.Fields[i])
		if s.Fields[i].Sub != nil {
			s.Fields[i].Sub.each(f)
		}
	}
}

// Names gives the keys in the order of the struct.
func (s *Schema) Names() []string {
	out := make([]string, len(s.Fields))
	for i := range s.Fields {
		out[i] = s.Fields[i].Name
	}
	return out
}

// SchemaOf reads a raw struct's tags; a wrong tag is a mistake of ours and panics in the first test that loads anything.
func SchemaOf(t reflect.Type) *Schema {
	s := &Schema{ByName: map[string]*Field{}}
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		f := Field{
			Name: tag.Get("toml"), index: i, Choices: strings.Fields(tag.Get("enum")), example: tag.Get("eg"),
			empty: tag.Get("empty") == "ok", lines: tag.Get("lines") == "ok", words: tag.Get("words") == "ok", secret: tag.Get("secret") == "ok",
			single: tag.Get("single") == "ok",
		}
		k, ok := kinds[t.Field(i).Type]
		switch ft := t.Field(i).Type; {
		case ok:
			f.Kind = k
		case ft.Kind() == reflect.Struct:
			f.Kind, f.Sub = KindTable, SchemaOf(ft)
		case ft.Kind() == reflect.Map && ft.Key().Kind() == reflect.String && ft.Elem().Kind() == reflect.Struct:
			f.Kind, f.Sub = KindNamed, SchemaOf(ft.Elem())
		case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct:
			f.Kind, f.Sub = KindTables, SchemaOf(ft.Elem())
		default:
			panic(fmt.Sprintf("strict: no kind for %s.%s", t, t.Field(i).Name))
		}
		if lo, hi, ok := strings.Cut(tag.Get("range"), ".."); ok {
			f.lo, f.hi, f.Span = bound(f.Kind, lo), bound(f.Kind, hi), lo+" to "+hi
		}
		s.Fields = append(s.Fields, f)
	}
	for i := range s.Fields {
		s.ByName[s.Fields[i].Name] = &s.Fields[i]
	}
	return s
}

func bound(k Kind, text string) int64 {
	var n int64
	var err error
	switch k {
	case KindSize:
		var v units.Size
		v, err = units.ParseSize(text)
		n = int64(v)
	case KindDuration:
		var v time.Duration
		v, err = time.ParseDuration(text)
		n = int64(v)
	case KindRate:
		var v units.Rate
		v, err = units.ParseRate(text)
		n = int64(v)
	default:
		_, err = fmt.Sscan(text, &n)
	}
	if err != nil {
		panic(fmt.Sprintf("strict: bad range bound %q: %v", text, err))
	}
	return n
}

// wants says in a user's words what a key takes.
func (f *Field) wants() string {
	switch {
	case len(f.Choices) > 0 && f.Kind == KindStrings:
		return "a list of " + Alternatives(f.Choices)
	case len(f.Choices) > 0:
		return Alternatives(f.Choices)
	}
	switch f.Kind {
	case KindBool:
		return "true or false"
	case KindInt:
		return "a whole number"
	case KindSize:
		return "a size such as " + Quote(f.example)
	case KindDuration:
		return "a duration such as " + Quote(f.example)
	case KindStrings:
		return "a list of strings"
	case KindMAC:
		return `"auto" or a MAC address such as "52:54:00:12:34:56"`
	case KindDisplay:
		return `"auto", "none" or a display number`
	case KindAddress:
		return "an IP address such as " + Quote(f.example)
	case KindHostAddress:
		return `an IP address with its prefix length such as ` + Quote(f.example) + ` or "keep"`
	case KindRate:
		return "a rate such as " + Quote(f.example)
	case KindInts:
		return "a list of whole numbers such as " + f.example
	case KindVLANs:
		return "a list of VLAN ids and ranges such as " + f.example
	case KindTable:
		return "one [" + f.Name + "] table"
	case KindNamed:
		return "tables with names such as [" + f.Name + ".main]"
	case KindAddresses:
		return "a list of IP addresses such as " + f.example
	case KindTables:
		return "[[" + f.Name + "]] tables"
	}
	return "a string"
}

// Alternatives gives `"a", "b" or "c"`.
func Alternatives(words []string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(Quote(w))
	}
	return b.String()
}
