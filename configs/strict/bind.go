package strict

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"kvmctl/internal/nearest"
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
			if r, ok := sc.Refused[name]; ok {
				b.Key(p, r.Msg, r.Fix)
				continue
			}
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
	if at := home(b.top, sc, name, ""); at != "" {
		return fmt.Sprintf("%q belongs below %s", name, at)
	}
	return ""
}

// home finds the header of a table below s, other than here, that has a key of this name.
func home(s, here *Schema, name, prefix string) string {
	for _, f := range s.Fields {
		if f.Sub == nil {
			continue
		}
		path := prefix + f.Name
		if f.Kind == KindNamed {
			path += ".<name>"
		}
		if _, ok := f.Sub.ByName[name]; ok && f.Sub != here {
			if f.Kind == KindTables {
				return "[[" + path + "]]"
			}
			return "[" + path + "]"
		}
		if at := home(f.Sub, here, name, path+"."); at != "" {
			return at
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
	case KindNamed:
		if t, ok := x.(map[string]any); ok {
			b.named(path, f, t, v)
			return
		}
	case KindStrings:
		b.strings(path, f, x, v)
		return
	case KindAddresses:
		b.addresses(path, f, x, v)
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

// named fills a map of tables. A name that stands for something else than a table is told.
func (b binder) named(path string, f *Field, tree map[string]any, v reflect.Value) {
	v.Set(reflect.MakeMapWithSize(v.Type(), len(tree)))
	for name, x := range tree {
		p := Join(path, name)
		t, ok := x.(map[string]any)
		if !ok {
			b.Key(p, fmt.Sprintf("%s wants tables with names such as [%s.main], got %s", f.Name, f.Name, describe(x)), home(b.top, nil, name, ""))
			continue
		}
		one := reflect.New(v.Type().Elem()).Elem()
		b.table(p, f.Sub, t, one)
		v.SetMapIndex(reflect.ValueOf(name), one)
	}
}

// addresses fills a list of IP addresses; one that is none is told and left out.
func (b binder) addresses(path string, f *Field, x any, v reflect.Value) {
	list, ok := x.([]any)
	if !ok {
		b.wrong(path, f, x)
		return
	}
	one := &Field{Name: f.Name, Kind: KindAddress, example: strings.Trim(f.example, `[]"`)}
	out := make([]netip.Addr, 0, len(list))
	for i := range list {
		a, _ := b.leaf(Element(path, i), one, list[i]).(*netip.Addr)
		if a == nil {
			a = &netip.Addr{} // keeps the others' indices
		}
		out = append(out, *a)
	}
	v.Set(reflect.ValueOf(out))
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
	if s, one := x.(string); one && f.single && !strings.ContainsAny(s, " /") { // else several words were meant
		list, ok = []any{s}, true
	}
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
