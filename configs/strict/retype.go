package strict

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"kvmctl/internal/units"
)

// retyped gives the line that a value of the wrong type was probably meant to be, or nothing.
func retyped(path string, f *Field, x any) string {
	key := Last(path)
	value := ""
	switch x := x.(type) {
	case string:
		switch f.Kind {
		case KindInt, KindDisplay:
			if n, err := strconv.Atoi(x); err == nil {
				value = strconv.Itoa(n)
			} else if f.Kind == KindDisplay && (x == "off" || x == "no" || x == "false") {
				value = `"none"`
			}
		case KindBool:
			switch strings.ToLower(x) {
			case "true", "yes", "on", "1":
				value = "true"
			case "false", "no", "off", "0":
				value = "false"
			}
		case KindStrings:
			words := strings.Fields(x) // arguments are written one by one
			if len(f.Choices) == 0 && !f.words {
				words = []string{x}
			}
			value = List(words)
		case KindAddresses:
			if _, err := netip.ParseAddr(x); err == nil {
				value = List([]string{x})
			}
		}
	case int64:
		switch {
		case f.Kind == KindSize && x > 0 && units.Size(x) < units.MiB:
			value = Quote(strconv.FormatInt(x, 10) + f.example[len(f.example)-1:]) // the key's usual unit
		case f.Kind == KindSize && x > 0:
			value = Quote(units.Size(x).String())
		case f.Kind == KindDuration && x >= 0:
			value = Quote(strconv.FormatInt(x, 10) + "s")
		case f.Kind == KindRate && x > 0 && x < 100_000:
			value = Quote(strconv.FormatInt(x, 10) + "Mbit") // the key's usual unit
		case f.Kind == KindInts || f.Kind == KindVLANs:
			value = "[" + strconv.FormatInt(x, 10) + "]"
		case f.Kind == KindBool && (x == 0 || x == 1):
			value = strconv.FormatBool(x == 1)
		}
	case bool:
		if f.Kind == KindDisplay {
			value = map[bool]string{true: `"auto"`, false: `"none"`}[x]
		}
	case float64:
		if f.Kind == KindInt && x == math.Trunc(x) && math.Abs(x) < 1<<31 {
			value = strconv.Itoa(int(x))
		}
	case map[string]any:
		if f.Kind == KindTables {
			return "[[" + Label(path) + "]]"
		}
	case []map[string]any:
		if f.Kind == KindTable {
			return "[" + Label(path) + "]"
		}
	}
	if value == "" {
		return ""
	}
	return key + " = " + value
}

// nearestBound gives the line with the allowed value that is nearest to n.
func nearestBound(key string, f *Field, n int64) string {
	n = min(max(n, f.lo), f.hi)
	switch f.Kind {
	case KindSize:
		return key + " = " + Quote(units.Size(n).String())
	case KindDuration:
		return key + " = " + Quote(Short(time.Duration(n)))
	case KindDisplay:
		return key + ` = "auto"`
	case KindRate:
		return key + " = " + Quote(units.Rate(n).String())
	}
	return key + " = " + strconv.FormatInt(n, 10)
}

// Short writes a duration without the zero units that time.Duration's String appends: "1h", not "1h0m0s".
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// wholeSize turns "1.5G" into "1536M": a size is a whole number of its unit. Anything else gives "".
func wholeSize(s string) string {
	digits := strings.TrimRight(s, "KMGTkmgt")
	n, err := strconv.ParseFloat(digits, 64)
	unit, uerr := units.ParseSize("1" + s[len(digits):])
	bytes := n * float64(unit)
	if err != nil || uerr != nil || unit == 1 || !(bytes >= 1) || bytes > 1<<53 || bytes != math.Trunc(bytes) {
		return ""
	}
	return units.Size(bytes).String()
}

// inUnits turns "30" into "30s" and "2d" into "48h", but into no more than the key takes.
func inUnits(s string, most int64) string {
	unit := time.Second
	days, ok := strings.CutSuffix(s, "d")
	if ok {
		unit = 24 * time.Hour
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return ""
	}
	return Short(min(time.Duration(n)*unit, time.Duration(most)))
}

// Quote writes a TOML basic string.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func describe(x any) string {
	switch x := x.(type) {
	case string:
		if r := []rune(x); len(r) > 40 {
			x = string(r[:40]) + "…"
		}
		return fmt.Sprintf("the string %q", x)
	case int64:
		return fmt.Sprintf("the number %d", x)
	case float64:
		n := strconv.FormatFloat(x, 'g', -1, 64)
		if x == math.Trunc(x) && !strings.ContainsAny(n, "e.In") {
			n += ".0"
		}
		return "the number " + n
	case bool:
		return fmt.Sprint(x)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return "a list"
}

// Label gives the key as a user knows it: "disk[1].image" is disk.image.
func Label(path string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(path, "[") {
		if _, rest, ok := strings.Cut(part, "]"); ok {
			part = rest
		}
		b.WriteString(part)
	}
	return b.String()
}

// Last gives the key without the tables around it and without indices.
func Last(path string) string {
	l := Label(path)
	return l[strings.LastIndexByte(l, '.')+1:]
}

// List writes a TOML list of strings.
func List[T ~string](values []T) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = Quote(string(v))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
