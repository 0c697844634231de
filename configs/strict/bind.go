package strict

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"kvmctl/internal/nearest"
	"kvmctl/internal/units"
)

// binder fills a raw struct from a decoded tree. It goes on after every mistake: a value that is wrong stays unset.
type binder struct {
	*Document
	top *Schema
}

// Bind fills raw, a pointer to the struct that sc describes.
func Bind(d *Document, sc *Schema, raw any) {
	b := binder{d, sc}
	b.table("", sc, d.Tree, reflect.ValueOf(raw).Elem())
}

func (b binder) table(path string, sc *Schema, tree map[string]any, v reflect.Value) {
	for name, x := range tree {
		p := Join(path, name)
		f, ok := sc.ByName[name]
		if !ok {
			b.Key(p, fmt.Sprintf("unknown key %q", name), b.meant(path, sc, name))
			continue
		}
		b.field(p, f, x, v.Field(f.index))
	}
}

// meant guesses what an unknown key was to be: a near name here, or the same name in another table.
func (b binder) meant(path string, sc *Schema, name string) string {
	if n, ok := nearest.Find(name, sc.Names()); ok {
		return fmt.Sprintf("did you mean %q?", n)
	}
	if _, ok := b.top.ByName[name]; ok && path != "" {
		return fmt.Sprintf("%q belongs above the first [table]", name)
	}
	for _, f := range b.top.Fields {
		if f.Sub == nil || f.Sub == sc {
			continue
		}
		if _, ok := f.Sub.ByName[name]; ok && f.Kind == KindTables {
			return fmt.Sprintf("%q belongs below [[%s]]", name, f.Name)
		} else if ok {
			return fmt.Sprintf("%q belongs below [%s]", name, f.Name)
		}
	}
	return ""
}

func (b binder) field(path string, f *Field, x any, v reflect.Value) {
	switch f.Kind {
	case KindTable:
		if t, ok := x.(map[string]any); ok {
			b.table(path, f.Sub, t, v)
			return
		}
	case KindTables:
		if list, ok := tables(x); ok {
			v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
			for i, t := range list {
				b.table(Element(path, i), f.Sub, t, v.Index(i))
			}
			return
		}
	case KindStrings:
		b.strings(path, f, x, v)
		return
	case KindInts, KindVLANs:
		b.numbers(path, f, x, v)
		return
	default:
		if p := b.leaf(path, f, x); p != nil {
			v.Set(reflect.ValueOf(p))
		}
		return
	}
	b.wrong(path, f, x)
}

// tables takes both spellings of a list of tables: [[x]] and x = [{…}].
func tables(x any) ([]map[string]any, bool) {
	if list, ok := x.([]map[string]any); ok {
		return list, true
	}
	list, ok := x.([]any)
	if !ok {
		return nil, false
	}
	out := make([]map[string]any, len(list))
	for i := range list {
		if out[i], ok = list[i].(map[string]any); !ok {
			return nil, false
		}
	}
	return out, true
}

func (b binder) strings(path string, f *Field, x any, v reflect.Value) {
	list, ok := x.([]any)
	if !ok {
		b.wrong(path, f, x)
		return
	}
	out := make([]string, 0, len(list))
	one := &Field{Name: f.Name, Choices: f.Choices, empty: f.empty, lines: f.lines}
	for i := range list {
		if s, ok := b.leaf(Element(path, i), one, list[i]).(*string); ok {
			out = append(out, *s)
		} else {
			out = append(out, "") // keeps the others' indices; what is bad is told
		}
	}
	v.Set(reflect.ValueOf(out))
}

// leaf returns a pointer to the value that x means for f, or nil with the problem told.
func (b binder) leaf(path string, f *Field, x any) any {
	s, isString := x.(string)
	n, isInt := x.(int64)
	switch {
	case isString && f.Kind == KindString:
		if !b.text(path, f, s) {
			return nil
		}
		return &s
	case isInt && f.Kind == KindInt:
		if !b.within(path, f, n, x) {
			return nil
		}
		i := int(n)
		return &i
	case isInt && f.Kind == KindDisplay:
		if !b.within(path, f, n, x) {
			return nil
		}
		return &DisplayValue{Number: int(n)}
	case f.Kind == KindBool:
		if v, ok := x.(bool); ok {
			return &v
		}
	case isString:
		return b.parsed(path, f, s)
	}
	b.wrong(path, f, x)
	return nil
}

// parsed reads what is written as a string but is more than one.
func (b binder) parsed(path string, f *Field, s string) any {
	switch f.Kind {
	case KindSize:
		v, err := units.ParseSize(s)
		if err != nil {
			return b.unreadable(path, err.Error(), wholeSize(s))
		}
		if b.within(path, f, int64(v), s) {
			return &v
		}
		return nil
	case KindDuration:
		var v units.Duration
		if err := v.UnmarshalText([]byte(s)); err != nil {
			return b.unreadable(path, err.Error(), inUnits(s, f.hi))
		}
		if b.within(path, f, int64(v), s) {
			return &v
		}
		return nil
	case KindMAC:
		if s == "auto" {
			return &MACValue{}
		}
		v, err := units.ParseMAC(s)
		if err != nil {
			return b.unreadable(path, err.Error(), "auto")
		}
		return &MACValue{v}
	case KindDisplay:
		if s == "auto" || s == "none" {
			return &DisplayValue{Auto: s == "auto", None: s == "none"}
		}
	case KindAddress:
		if v, err := netip.ParseAddr(s); err == nil && v.Zone() == "" && !v.Is4In6() {
			return &v
		}
		if v, err := netip.ParsePrefix(s); err == nil {
			return b.unreadable(path, fmt.Sprintf("wants %s, got %q", f.wants(), s), v.Addr().String())
		}
		fix := ""
		if s == "localhost" {
			fix = "127.0.0.1"
		}
		return b.unreadable(path, fmt.Sprintf("wants %s, got %q", f.wants(), s), fix)
	case KindRate:
		v, err := units.ParseRate(s)
		if err != nil {
			return b.unreadable(path, err.Error(), "")
		}
		if b.within(path, f, int64(v), s) {
			return &v
		}
		return nil
	case KindHostAddress:
		if s == "keep" {
			return &AddressValue{Keep: true}
		}
		if v, err := netip.ParsePrefix(s); err == nil && !v.Addr().Is4In6() {
			return &AddressValue{Prefix: v}
		}
		fix := ""
		if v, err := netip.ParseAddr(s); err == nil && v.Is4() {
			fix = s + "/24"
		}
		return b.unreadable(path, fmt.Sprintf("wants %s, got %q", f.wants(), s), fix)
	}
	b.wrong(path, f, s)
	return nil
}

// unreadable tells of a string that is not what the key takes; instead would be.
func (b binder) unreadable(path, msg, instead string) any {
	if instead != "" {
		instead = fmt.Sprintf("%s = %q", Last(path), instead)
	}
	if strings.HasPrefix(msg, "bad ") {
		msg = ": " + msg
	} else {
		msg = " " + msg
	}
	b.Value(path, label(path)+msg, instead)
	return nil
}

// text checks a string against the field's rules.
func (b binder) text(path string, f *Field, s string) bool {
	control := func(r rune) bool { return unicode.IsControl(r) && !(f.lines && (r == '\n' || r == '\t')) }
	switch i := strings.IndexFunc(s, control); {
	case i >= 0:
		b.Value(path, fmt.Sprintf("%s holds a control character (%q)", label(path), []rune(s[i:])[0]), "")
	case s == "" && !f.empty && len(f.Choices) == 0:
		b.Value(path, label(path)+" is empty", "")
	case len(f.Choices) > 0 && !slices.Contains(f.Choices, s):
		fix := ""
		if n, ok := nearest.Find(s, f.Choices); ok {
			fix = fmt.Sprintf("did you mean %q?", n)
		}
		b.Value(path, fmt.Sprintf("%s wants %s, got %q", label(path), f.wants(), s), fix)
	default:
		return true
	}
	return false
}

func (b binder) within(path string, f *Field, n int64, x any) bool {
	if f.Span == "" || n >= f.lo && n <= f.hi {
		return true
	}
	got := fmt.Sprint(x)
	if f.Kind == KindSize {
		got = units.Size(n).String()
	}
	b.Value(path, fmt.Sprintf("%s wants %s, got %s", label(path), f.Span, got), nearestBound(Last(path), f, n))
	return false
}

// wrong tells of a value of another type, without Go's names for it.
func (b binder) wrong(path string, f *Field, x any) {
	b.Value(path, fmt.Sprintf("%s wants %s, got %s", label(path), f.wants(), describe(x)), retyped(Last(path), f, x))
}
