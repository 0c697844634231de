package strict

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"kvmctl/internal/nearest"
	"kvmctl/internal/units"
)

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
	switch {
	case instead != "" && strings.HasSuffix(path, "]"): // an element of a list
		instead = fmt.Sprintf("%q", instead)
	case instead != "":
		instead = fmt.Sprintf("%s = %q", Last(path), instead)
	}
	if strings.HasPrefix(msg, "bad ") {
		msg = ": " + msg
	} else {
		msg = " " + msg
	}
	b.Value(path, Label(path)+msg, instead)
	return nil
}

// text checks a string against the field's rules.
func (b binder) text(path string, f *Field, s string) bool {
	control := func(r rune) bool { return unicode.IsControl(r) && !(f.lines && (r == '\n' || r == '\t')) }
	switch i := strings.IndexFunc(s, control); {
	case i >= 0:
		b.Value(path, fmt.Sprintf("%s holds a control character (%q)", Label(path), []rune(s[i:])[0]), "")
	case s == "" && !f.empty && len(f.Choices) == 0:
		b.Value(path, Label(path)+" is empty", "")
	case len(f.Choices) > 0 && !slices.Contains(f.Choices, s):
		fix := ""
		if n, ok := nearest.Find(s, f.Choices); ok {
			fix = fmt.Sprintf("did you mean %q?", n)
		}
		b.Value(path, fmt.Sprintf("%s wants %s, got %q", Label(path), f.wants(), s), fix)
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
	b.Value(path, fmt.Sprintf("%s wants %s, got %s", Label(path), f.Span, got), nearestBound(Last(path), f, n))
	return false
}

// wrong tells of a value of another type, without Go's names for it.
func (b binder) wrong(path string, f *Field, x any) {
	if f.secret {
		b.Value(path, fmt.Sprintf("%s wants %s", Label(path), f.wants()), "")
		return
	}
	b.Value(path, fmt.Sprintf("%s wants %s, got %s", Label(path), f.wants(), describe(x)), retyped(path, f, x))
}
