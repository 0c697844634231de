package configs

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
	*document
	top *schema
}

// bind fills raw, a pointer to the struct that sc describes.
func bind(d *document, sc *schema, raw any) {
	b := binder{d, sc}
	b.table("", sc, d.tree, reflect.ValueOf(raw).Elem())
}

func (b binder) table(path string, sc *schema, tree map[string]any, v reflect.Value) {
	for name, x := range tree {
		p := join(path, name)
		f, ok := sc.byName[name]
		if !ok {
			b.key(p, fmt.Sprintf("unknown key %q", name), b.meant(path, sc, name))
			continue
		}
		b.field(p, f, x, v.Field(f.index))
	}
}

// meant guesses what an unknown key was to be: a near name here, or the same name in another table.
func (b binder) meant(path string, sc *schema, name string) string {
	if n, ok := nearest.Find(name, sc.names()); ok {
		return fmt.Sprintf("did you mean %q?", n)
	}
	if _, ok := b.top.byName[name]; ok && path != "" {
		return fmt.Sprintf("%q belongs above the first [table]", name)
	}
	for _, f := range b.top.fields {
		if f.sub == nil || f.sub == sc {
			continue
		}
		if _, ok := f.sub.byName[name]; ok && f.kind == kindTables {
			return fmt.Sprintf("%q belongs below [[%s]]", name, f.name)
		} else if ok {
			return fmt.Sprintf("%q belongs below [%s]", name, f.name)
		}
	}
	return ""
}

func (b binder) field(path string, f *field, x any, v reflect.Value) {
	switch f.kind {
	case kindTable:
		if t, ok := x.(map[string]any); ok {
			b.table(path, f.sub, t, v)
			return
		}
	case kindTables:
		if list, ok := tables(x); ok {
			v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
			for i, t := range list {
				b.table(element(path, i), f.sub, t, v.Index(i))
			}
			return
		}
	case kindStrings:
		b.strings(path, f, x, v)
		return
	case kindInts, kindVLANs:
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

func (b binder) strings(path string, f *field, x any, v reflect.Value) {
	list, ok := x.([]any)
	if !ok {
		b.wrong(path, f, x)
		return
	}
	out := make([]string, 0, len(list))
	one := &field{name: f.name, choices: f.choices, empty: f.empty, lines: f.lines}
	for i := range list {
		if s, ok := b.leaf(element(path, i), one, list[i]).(*string); ok {
			out = append(out, *s)
		} else {
			out = append(out, "") // keeps the others' indices; what is bad is told
		}
	}
	v.Set(reflect.ValueOf(out))
}

// leaf returns a pointer to the value that x means for f, or nil with the problem told.
func (b binder) leaf(path string, f *field, x any) any {
	s, isString := x.(string)
	n, isInt := x.(int64)
	switch {
	case isString && f.kind == kindString:
		if !b.text(path, f, s) {
			return nil
		}
		return &s
	case isInt && f.kind == kindInt:
		if !b.within(path, f, n, x) {
			return nil
		}
		i := int(n)
		return &i
	case isInt && f.kind == kindDisplay:
		if !b.within(path, f, n, x) {
			return nil
		}
		return &displayValue{Number: int(n)}
	case f.kind == kindBool:
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
func (b binder) parsed(path string, f *field, s string) any {
	switch f.kind {
	case kindSize:
		v, err := units.ParseSize(s)
		if err != nil {
			return b.unreadable(path, err.Error(), wholeSize(s))
		}
		if b.within(path, f, int64(v), s) {
			return &v
		}
		return nil
	case kindDuration:
		var v units.Duration
		if err := v.UnmarshalText([]byte(s)); err != nil {
			return b.unreadable(path, err.Error(), inUnits(s, f.hi))
		}
		if b.within(path, f, int64(v), s) {
			return &v
		}
		return nil
	case kindMAC:
		if s == "auto" {
			return &macValue{}
		}
		v, err := units.ParseMAC(s)
		if err != nil {
			return b.unreadable(path, err.Error(), "auto")
		}
		return &macValue{v}
	case kindDisplay:
		if s == "auto" || s == "none" {
			return &displayValue{Auto: s == "auto", None: s == "none"}
		}
	case kindAddress:
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
	case kindRate:
		v, err := units.ParseRate(s)
		if err != nil {
			return b.unreadable(path, err.Error(), "")
		}
		if b.within(path, f, int64(v), s) {
			return &v
		}
		return nil
	case kindHostAddress:
		if s == "keep" {
			return &addressValue{Keep: true}
		}
		if v, err := netip.ParsePrefix(s); err == nil && !v.Addr().Is4In6() {
			return &addressValue{Prefix: v}
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
		instead = fmt.Sprintf("%s = %q", last(path), instead)
	}
	if strings.HasPrefix(msg, "bad ") {
		msg = ": " + msg
	} else {
		msg = " " + msg
	}
	b.value(path, label(path)+msg, instead)
	return nil
}

// text checks a string against the field's rules.
func (b binder) text(path string, f *field, s string) bool {
	control := func(r rune) bool { return unicode.IsControl(r) && !(f.lines && (r == '\n' || r == '\t')) }
	switch i := strings.IndexFunc(s, control); {
	case i >= 0:
		b.value(path, fmt.Sprintf("%s holds a control character (%q)", label(path), []rune(s[i:])[0]), "")
	case s == "" && !f.empty && len(f.choices) == 0:
		b.value(path, label(path)+" is empty", "")
	case len(f.choices) > 0 && !slices.Contains(f.choices, s):
		fix := ""
		if n, ok := nearest.Find(s, f.choices); ok {
			fix = fmt.Sprintf("did you mean %q?", n)
		}
		b.value(path, fmt.Sprintf("%s wants %s, got %q", label(path), f.wants(), s), fix)
	default:
		return true
	}
	return false
}

func (b binder) within(path string, f *field, n int64, x any) bool {
	if f.span == "" || n >= f.lo && n <= f.hi {
		return true
	}
	got := fmt.Sprint(x)
	if f.kind == kindSize {
		got = units.Size(n).String()
	}
	b.value(path, fmt.Sprintf("%s wants %s, got %s", label(path), f.span, got), nearestBound(last(path), f, n))
	return false
}

// wrong tells of a value of another type, without Go's names for it.
func (b binder) wrong(path string, f *field, x any) {
	b.value(path, fmt.Sprintf("%s wants %s, got %s", label(path), f.wants(), describe(x)), retyped(last(path), f, x))
}
