package configs

import "kvmctl/configs/strict"

// Place gives where a guest's file says something: the value of a dotted key, elements counted in brackets from 0 ("disk[0].image"), or the
// nearest place above it. A file that cannot be read says everything at its beginning.
func (g *Guest) Place(key string) (line, col int) {
	text, err := strict.Read(g.File)
	if err != nil {
		return 1, 1
	}
	d := strict.Parse(g.File, text, nil)
	if d.Tree == nil {
		return 1, 1
	}
	return d.Position(key)
}
