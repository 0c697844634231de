package conf

// Difference is something that two configurations say differently. Of what one of them does not say, Value is empty and At is
// the nearest thing around it that is there.
type Difference struct {
	About, What string // as in Fact
	Here, There Value
	HereOnly    bool // the other does not say it at all
	ThereOnly   bool
}

// Diff gives what two configurations mean differently, in the order of here and then of what only there has. Of a section that one
// of them lacks, its contents are not told.
func Diff(here, there *Config) []Difference {
	a, b := index(here), index(there)
	var all []Difference
	for _, f := range a.facts {
		switch other, ok := b.at[f.key()]; {
		case !ok && b.has(f):
			all = append(all, Difference{f.About, f.What, f.Value, Value{At: b.near(f)}, true, false})
		case ok && !other.Same(f.Value):
			all = append(all, Difference{f.About, f.What, f.Value, other, false, false})
		}
	}
	for _, f := range b.facts {
		if _, ok := a.at[f.key()]; !ok && a.has(f) {
			all = append(all, Difference{f.About, f.What, Value{At: a.near(f)}, f.Value, false, true})
		}
	}
	return all
}

type indexed struct {
	facts []Fact
	at    map[[2]string]Value
	first Position // of the whole
}

func (f Fact) key() [2]string { return [2]string{f.About, f.What} }

func index(c *Config) indexed {
	x := indexed{at: map[[2]string]Value{}}
	for _, f := range c.Facts() {
		if _, twice := x.at[f.key()]; !twice {
			x.facts = append(x.facts, f)
		}
		x.at[f.key()] = f.Value
	}
	for i := range x.facts {
		x.facts[i].Value = x.at[x.facts[i].key()]
	}
	if len(c.Files) > 0 {
		x.first.File = c.Files[0].Name
	}
	return x
}

// has reports whether the section that a fact stands in is there, so that it alone is missing.
func (x indexed) has(f Fact) bool {
	_, told := x.at[[2]string{f.outer, ""}]
	return told || f.outer == ""
}

// near gives the place of that section.
func (x indexed) near(f Fact) Position {
	if v, ok := x.at[[2]string{f.outer, ""}]; ok {
		return v.At
	}
	return x.first
}
