package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"kvmctl/configs/strict"
	"kvmctl/internal/nearest"
)

// mainKeys says which key `disk.+=F` sets: the one without which the table means nothing.
var mainKeys = map[string]string{"disk": "image", "cdrom": "image", "nic": "bridge"}

// AssignError is an assignment that is none.
type AssignError struct {
	Word string // as typed
	Why  string
	Fix  string
}

func (e *AssignError) Error() string { return fmt.Sprintf("%q %s", e.Word, e.Why) }

// Hint says what to type.
func (e *AssignError) Hint() string { return e.Fix }

var integer = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[+-]?[0-9]+$`) })

// ParseAssignments reads the words of `kvmctl set`: key=value, table.key=value, disk.1.key=value; disk.+.key=value for a new element (of
// one and the same in all words); without a value the key, or with disk.1= the element, is removed. Dashes in a key
// mean underscores. disk.N=F, cdrom.N=F and nic.N=B set image, image and bridge; the value eject empties a CD drive. text is the file to change: it tells
// how many elements there are.
func ParseAssignments(words []string, text []byte) ([]Edit, error) {
	l := strict.Locate(strings.TrimLeft(string(text), "\ufeff"))
	var edits []Edit
	seen := map[string]bool{}
	for _, w := range words {
		e, err := assignment(w, l)
		if err != nil {
			return nil, err
		}
		if seen[e.Path] {
			return nil, &AssignError{Word: w, Why: "sets " + spoken(e.Path) + " a second time"}
		}
		seen[e.Path] = true
		edits = append(edits, e)
	}
	return edits, nil
}

func assignment(word string, l *strict.Locator) (Edit, error) {
	key, value, ok := strings.Cut(word, "=")
	if !ok || key == "" {
		return Edit{}, &AssignError{word, "is no assignment", "key=value, such as memory=1G or disk.+.image=data.qcow2"}
	}
	if !utf8.ValidString(word) {
		return Edit{}, &AssignError{word, "holds bytes that are not UTF-8", ""}
	}
	parts := strings.Split(strings.ReplaceAll(key, "-", "_"), ".")
	sc := guestSchema()
	f, ok := sc.ByName[parts[0]]
	if !ok {
		fix := "kvmctl show <vm> --toml; every key is in vm.toml(5)"
		if n, found := nearest.Find(parts[0], sc.Names()); found {
			fix = fmt.Sprintf("did you mean %q?", n)
		}
		return Edit{}, &AssignError{word, fmt.Sprintf("names no key: unknown key %q", parts[0]), fix}
	}
	path := parts[0]
	rest := parts[1:]
	if f.Kind == strict.KindTables {
		if len(rest) == 0 {
			return Edit{}, &AssignError{word, "does not say which " + f.Name, fmt.Sprintf("%s.0.%s=%s, or %s.+.%s=%s for a new one", f.Name, mainKeys[f.Name], value, f.Name, mainKeys[f.Name], value)}
		}
		n := l.Count(f.Name)
		if rest[0] != "+" {
			i, err := strconv.Atoi(rest[0])
			if err != nil || i < 0 {
				return Edit{}, &AssignError{word, fmt.Sprintf("has %q where the number of a %s belongs", rest[0], f.Name), "the first one is " + f.Name + ".0; a new one " + f.Name + ".+"}
			}
			if _, there := l.Places[strict.Element(f.Name, i)]; !there {
				return Edit{}, &AssignError{word, fmt.Sprintf("names a %s that is not there", f.Name), fmt.Sprintf("%s.+.%s=%s adds one", f.Name, mainKeys[f.Name], value)}
			}
			n = i
		} else if value == "" {
			return Edit{}, &AssignError{word, "adds a " + f.Name + " with nothing in it", ""}
		}
		path, rest = strict.Element(path, n), rest[1:]
		if len(rest) == 0 {
			if value == "" {
				return Edit{Path: path}, nil
			}
			rest = []string{mainKeys[f.Name]}
		}
	}
	if f.Sub != nil {
		if len(rest) == 0 {
			return Edit{}, &AssignError{word, fmt.Sprintf("sets a whole table: %s has %s", f.Name, strict.Alternatives(f.Sub.Names())), ""}
		}
		table := f.Name
		if f, ok = f.Sub.ByName[rest[0]]; !ok {
			fix := ""
			if n, found := nearest.Find(rest[0], guestSchema().ByName[table].Sub.Names()); found {
				fix = fmt.Sprintf("did you mean %q?", n)
			}
			return Edit{}, &AssignError{word, fmt.Sprintf("names no key: unknown key %q of %s", rest[0], table), fix}
		}
		if table == "cdrom" && f.Name == "image" && value == "eject" {
			return Edit{Path: path + ".image", Value: `""`}, nil
		}
		path, rest = path+"."+f.Name, rest[1:]
	}
	if len(rest) > 0 {
		return Edit{}, &AssignError{word, fmt.Sprintf("goes one name too far: %s has no parts", spoken(path)), ""}
	}
	return Edit{Path: path, Value: literal(f, value)}, nil
}

// literal writes what was typed as a TOML value of the field's kind. What does not fit becomes a string: the strict loader then says what the key wants.
func literal(f *strict.Field, value string) string {
	switch {
	case value == "":
		return ""
	case f.Kind == strict.KindBool && (value == "true" || value == "false"),
		(f.Kind == strict.KindInt || f.Kind == strict.KindDisplay) && integer().MatchString(value):
		return strings.TrimPrefix(value, "+")
	case f.Kind == strict.KindStrings && strings.HasPrefix(value, "["):
		return value // as in the file
	case f.Kind == strict.KindStrings:
		return strict.List(strings.Split(value, ","))
	}
	return strict.Quote(value)
}

// RemovedTables gives the positions of a list's tables that edits remove, in order.
func RemovedTables(name string, edits []Edit) []int {
	var all []int
	for _, e := range edits {
		if table, _, ok := strings.Cut(e.Path, "["); ok && table == name && e.Value == "" && strings.HasSuffix(e.Path, "]") {
			all = append(all, indexOf(e.Path))
		}
	}
	slices.Sort(all)
	return all
}

// Keys gives every key that `kvmctl set` takes for a guest with so many disks, CD drives and network cards.
func Keys(disks, cdroms, nics int) []string {
	counts := map[string]int{"disk": disks, "cdrom": cdroms, "nic": nics}
	var all []string
	for _, f := range guestSchema().Fields {
		switch f.Kind {
		case strict.KindTable:
			for _, sub := range f.Sub.Names() {
				all = append(all, f.Name+"."+sub)
			}
		case strict.KindTables:
			for i := range counts[f.Name] + 1 {
				at := strconv.Itoa(i)
				if i == counts[f.Name] {
					at = "+"
				}
				for _, sub := range f.Sub.Names() {
					all = append(all, f.Name+"."+at+"."+sub)
				}
			}
		default:
			all = append(all, f.Name)
		}
	}
	return all
}
