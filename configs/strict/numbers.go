package strict

import (
	"fmt"
	"reflect"

	"kvmctl/internal/units"
)

// mostNumbers bounds a list of numbers: more elements than that are no mistake that anybody wants told one by one.
const mostNumbers = 4094

// numbers fills a list of whole numbers, or of VLAN ids and ranges. An element that is wrong or a repetition is told and left out.
func (b binder) numbers(path string, f *Field, x any, v reflect.Value) {
	list, ok := x.([]any)
	if !ok {
		b.wrong(path, f, x)
		return
	}
	if len(list) > mostNumbers {
		b.Value(path, fmt.Sprintf("%s has %d elements: at most %d", Label(path), len(list), mostNumbers), "")
		return
	}
	var ids units.VLANs
	for i, x := range list {
		at := Element(path, i)
		r, ok := b.number(at, f, x)
		if !ok {
			continue
		}
		if ids.Overlaps(r) {
			b.Value(at, fmt.Sprintf("%s has %s twice", Label(path), r), "")
			continue
		}
		ids = append(ids, r)
	}
	if f.Kind == KindVLANs {
		v.Set(reflect.ValueOf(ids))
		return
	}
	numbers := make([]int, len(ids))
	for i, r := range ids {
		numbers[i] = r.First
	}
	v.Set(reflect.ValueOf(numbers))
}

// number reads one element; a single number is a range of one.
func (b binder) number(path string, f *Field, x any) (r units.VLANRange, ok bool) {
	switch x := x.(type) {
	case int64:
		lo, hi := f.lo, f.hi
		if f.Kind == KindVLANs {
			lo, hi = units.MinVLAN, units.MaxVLAN
		}
		if x < lo || x > hi {
			b.Value(path, fmt.Sprintf("%s wants %d to %d, got %d", Label(path), lo, hi, x), "")
			return r, false
		}
		return units.VLANRange{First: int(x), Last: int(x)}, true
	case string:
		if f.Kind == KindVLANs {
			r, err := units.ParseVLANRange(x)
			if err != nil {
				b.Value(path, Label(path)+": "+err.Error(), "")
			}
			return r, err == nil
		}
	}
	one := "a whole number"
	if f.Kind == KindVLANs {
		one = `a VLAN id or a range such as "20-29"`
	}
	b.Value(path, fmt.Sprintf("%s wants %s, got %s", Label(path), one, describe(x)), "")
	return r, false
}
