package ucarp

import (
	"fmt"
	"strings"
)

// Options are ucarp's, as text; Set says which were given.
type Options struct {
	values map[string]string // long name → value; "" for those that take none
}

// maxArgs and maxArg bound a command line.
const (
	maxArgs = 256
	maxArg  = 4096 // bytes
)

// option is one of ucarp 1.5.2's (ucarp.h, getopt_long).
type option struct {
	short byte
	long  string
	value bool
}

var options = []option{
	{'i', "interface", true}, {'s', "srcip", true}, {'m', "mcast", true}, {'v', "vhid", true}, {'p', "pass", true}, {'o', "passfile", true},
	{'P', "preempt", false}, {'n', "neutral", false}, {'a', "addr", true}, {'h', "help", false}, {'b', "advbase", true}, {'k', "advskew", true},
	{'u', "upscript", true}, {'d', "downscript", true}, {'r', "deadratio", true}, {'z', "shutdown", false}, {'D', "debug", false},
	{'B', "daemonize", false}, {'f', "facility", true}, {'x', "xparam", true}, {'S', "ignoreifstate", false}, {'M', "nomcast", false},
}

// Get gives an option's value, and whether it was given.
func (o *Options) Get(long string) (string, bool) {
	v, ok := o.values[long]
	return v, ok
}

func (o *Options) set(long, value string) {
	if o.values == nil {
		o.values = map[string]string{}
	}
	o.values[long] = value
}

// over gives o on top of below.
func (o Options) over(below Options) Options {
	var out Options
	for _, m := range []map[string]string{below.values, o.values} {
		for k, v := range m {
			out.set(k, v)
		}
	}
	return out
}

// ArgumentError is a command line that ucarp would refuse. It never shows a value.
type ArgumentError struct{ Arg, Why string }

func (e *ArgumentError) Error() string { return fmt.Sprintf("%s: %s", e.Arg, e.Why) }

// ParseArgs reads a command line as getopt_long(3) does for ucarp: bundled short options, values in the same word or the next, long names cut
// short. A first word that names the program is passed over.
func ParseArgs(args []string) (Options, error) {
	var o Options
	if len(args) > maxArgs {
		return o, &ArgumentError{"the command line", fmt.Sprintf("more than %d words", maxArgs)}
	}
	if len(args) > 0 && (args[0] == "ucarp" || strings.HasSuffix(args[0], "/ucarp")) {
		args = args[1:]
	}
	for i := 0; i < len(args); i++ {
		word := args[i]
		next := func() (string, bool) {
			if i+1 == len(args) {
				return "", false
			}
			i++
			return args[i], true
		}
		var err error
		switch {
		case len(word) > maxArg || strings.ContainsAny(word, "\x00\n"):
			err = &ArgumentError{fmt.Sprintf("word %d", i+1), "too long, or of more than one line"}
		case word == "--":
			if i+1 < len(args) {
				err = &ArgumentError{fmt.Sprintf("word %d", i+2), "ucarp takes options only"}
			}
		case strings.HasPrefix(word, "--"):
			err = o.long(word[2:], next)
		case strings.HasPrefix(word, "-") && len(word) > 1:
			err = o.bundle(word[1:], next)
		default:
			err = &ArgumentError{fmt.Sprintf("word %d", i+1), "no option: ucarp takes options only"}
		}
		if err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

// long reads --name, --name=value, --name value; a name may be cut short while it means one option only.
func (o *Options) long(word string, next func() (string, bool)) error {
	name, value, given := strings.Cut(word, "=")
	var found []option
	for _, x := range options {
		if x.long == name {
			found = []option{x}
			break
		}
		if strings.HasPrefix(x.long, name) {
			found = append(found, x)
		}
	}
	switch {
	case len(found) == 0:
		return &ArgumentError{"--" + printable(name), "ucarp has no such option"}
	case len(found) > 1:
		return &ArgumentError{"--" + printable(name), fmt.Sprintf("may be --%s or --%s", found[0].long, found[1].long)}
	}
	x := found[0]
	if given && !x.value {
		return &ArgumentError{"--" + x.long, "takes no value"}
	}
	if x.value && !given {
		if value, given = next(); !given {
			return &ArgumentError{"--" + x.long, "wants a value"}
		}
	}
	o.set(x.long, value)
	return nil
}

// bundle reads -Pz, -ieth0, -i eth0.
func (o *Options) bundle(word string, next func() (string, bool)) error {
	for i := 0; i < len(word); i++ {
		var x option
		for _, y := range options {
			if y.short == word[i] {
				x = y
			}
		}
		switch {
		case x.long == "":
			return &ArgumentError{"-" + printable(string(rune(word[i]))), "ucarp has no such option"}
		case !x.value:
			o.set(x.long, "")
			continue
		}
		value := word[i+1:]
		if value == "" {
			var ok bool
			if value, ok = next(); !ok {
				return &ArgumentError{"-" + string(rune(x.short)), "wants a value"}
			}
		}
		o.set(x.long, value)
		return nil
	}
	return nil
}

// printable writes what was typed as one short word.
func printable(s string) string {
	q := fmt.Sprintf("%q", s)
	if q = q[1 : len(q)-1]; len(q) > 40 {
		q = strings.ToValidUTF8(q[:40], "") + "…"
	}
	return q
}
