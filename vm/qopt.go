package vm

import (
	"encoding/json"
	"strings"
)

// opt renders one QEMU option argument, "head,key=value,…". A comma in a value is doubled (QEMU manual, "Conventions"):
// a guest's name or path can never begin an option of its own.
type opt struct{ b strings.Builder }

func newOpt(head string) *opt {
	o := &opt{}
	o.b.WriteString(head)
	return o
}

// set appends key=value.
func (o *opt) set(key, value string) *opt {
	if o.b.Len() > 0 {
		o.b.WriteByte(',')
	}
	o.b.WriteString(key)
	o.b.WriteByte('=')
	o.b.WriteString(escape(value))
	return o
}

// on appends key=on or key=off.
func (o *opt) on(key string, v bool) *opt {
	if v {
		return o.set(key, "on")
	}
	return o.set(key, "off")
}

func (o *opt) String() string { return o.b.String() }

func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// jsonArg renders v as the JSON form of an option argument (-blockdev); struct order is the argument's order.
func jsonArg(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("vm: option is not JSON: " + err.Error()) // only our own structs of strings, bools and ints come here
	}
	return string(b)
}
