package conf

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Last gives the option of a list that counts: the last one.
func Last(list []Option, s Section, name string) (Option, bool) {
	for _, o := range slices.Backward(list) {
		if o.Section == s && o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

// Option gives what holds for a resource: its own, or the common section's.
func (c *Config) Option(r *Resource, s Section, name string) (Option, bool) {
	if o, ok := Last(r.Options, s, name); ok {
		return o, true
	}
	return Last(c.Common, s, name)
}

// Called reports whether a host section is one of the node with that name.
func (h *Host) Called(name string) bool {
	return slices.ContainsFunc(h.Names, func(v Value) bool { return v.Text == name })
}

// Title names a host section: its names, the resource below it, or its address.
func (h *Host) Title() string {
	var words []string
	for _, n := range h.Names {
		words = append(words, n.Text)
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, " ")
	case h.Stacked.Text != "":
		return "stacked on " + h.Stacked.Text
	}
	return h.Address.String()
}

// VolumesOn gives the volumes of a resource as one of its hosts has them, by number.
func (r *Resource) VolumesOn(h *Host) []Volume {
	var all []Volume
	for _, v := range slices.Concat(r.Volumes, h.Volumes) {
		i := slices.IndexFunc(all, func(have Volume) bool { return have.Number == v.Number })
		if i < 0 {
			all = append(all, *v)
			continue
		}
		have := &all[i]
		have.Options = slices.Concat(have.Options, v.Options)
		if v.Minor >= 0 || v.Device.Text != "" {
			have.Device, have.Minor, have.MinorAt = v.Device, v.Minor, v.MinorAt
		}
		if v.Disk.Text != "" {
			have.Disk = v.Disk
		}
		if v.MetaDisk.Text != "" {
			have.MetaDisk, have.MetaIndex = v.MetaDisk, v.MetaIndex
		}
	}
	slices.SortStableFunc(all, func(a, b Volume) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// Fact is one thing that a configuration says, with what is common to all resources in its place.
type Fact struct {
	About string // "resource admin, on varda2"
	What  string // "address"; empty: that it is there at all
	Value Value
	outer string // About of the innermost section around it that is told of itself; empty: none
}

// ownBusiness are global settings that may differ from node to node.
var ownBusiness = []string{"usage-count", "dialog-refresh"}

// Facts gives all that a configuration says, whichever way it is written, in the order of the files.
func (c *Config) Facts() []Fact {
	var f facts
	f.options("", "global", c.Global)
	for _, r := range c.Resources {
		about := "resource " + r.Name.Text
		f = append(f, Fact{About: about, Value: Value{At: r.Name.At}})
		var list []Option
		for _, o := range c.Common {
			if _, own := Last(r.Options, o.Section, o.Name); !own {
				list = append(list, o)
			}
		}
		f.options(about, about, append(list, r.Options...))
		for _, h := range r.Hosts {
			f.host(about, r, h)
		}
		for _, k := range r.Connections {
			f.connection(about, k)
		}
	}
	return f
}

type facts []Fact

func (f *facts) say(outer, about, what string, v Value) {
	if v.Text != "" {
		*f = append(*f, Fact{about, what, v, outer})
	}
}

// options says what counts of a list.
func (f *facts) options(outer, about string, list []Option) {
	for i, o := range list {
		if _, again := Last(list[i+1:], o.Section, o.Name); again || o.Section == Global && slices.Contains(ownBusiness, o.Name) {
			continue
		}
		v := o.Value
		v.At = o.At
		if o.Name == "protocol" {
			v.Text = strings.ToUpper(v.Text)
		}
		f.say(outer, about, string(o.Section)+" "+o.Name, v)
	}
}

func (f *facts) host(outer string, r *Resource, h *Host) {
	on := outer + ", on " + h.Title()
	*f = append(*f, Fact{About: on, Value: Value{At: h.At}, outer: outer})
	f.say(on, on, "address", Value{Text: h.Address.String(), At: h.Address.At})
	f.say(on, on, "node-id", h.NodeID)
	f.options(on, on, h.Options)
	for _, v := range r.VolumesOn(h) {
		about := on + ", volume " + strconv.Itoa(v.Number)
		*f = append(*f, Fact{About: about, Value: Value{At: v.At}, outer: on})
		f.say(about, about, "device", v.Device)
		if v.Minor >= 0 {
			f.say(about, about, "minor", Value{Text: strconv.Itoa(v.Minor), At: v.MinorAt})
		}
		f.say(about, about, "disk", v.Disk)
		f.say(about, about, "meta-disk", v.MetaDisk)
		f.say(about, about, "index of meta-disk", v.MetaIndex)
		f.options(about, about, v.Options)
	}
}

func (f *facts) connection(outer string, k *Connection) {
	about := outer + ", " + k.Title()
	*f = append(*f, Fact{About: about, Value: Value{At: k.At}, outer: outer})
	for _, e := range k.Ends {
		f.say(about, about, "host "+e.Host.Text, Value{Text: e.address(), At: e.Host.At})
	}
	f.options(about, about, k.Options)
	for _, v := range k.Volumes {
		f.options(about, about+", volume "+strconv.Itoa(v.Number), v.Options)
	}
}

// Title names a connection by its ends, in the order of the alphabet.
func (k *Connection) Title() string {
	var ends []string
	for _, e := range k.Ends {
		if !slices.Contains(ends, e.Host.Text) {
			ends = append(ends, e.Host.Text)
		}
	}
	slices.Sort(ends)
	if k.Mesh {
		return "mesh of " + strings.Join(ends, ", ")
	}
	return "connection of " + strings.Join(ends, " and ")
}

func (e End) address() string {
	if e.Address.Family != "" {
		return e.Address.String()
	}
	if e.Port != 0 {
		return "port " + strconv.Itoa(int(e.Port))
	}
	return ""
}
