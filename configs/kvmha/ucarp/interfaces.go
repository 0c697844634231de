package ucarp

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The bounds of an interfaces(5) file.
const (
	maxInterfaces     = 256 << 10 // bytes
	maxInterfacesLine = 4096      // bytes, continued ones joined
)

var errInterfaces = errors.New("no interfaces(5) file")

// stanza is an iface stanza that has options of ucarp's.
type stanza struct {
	iface   string
	line    int
	options Options
	notes   []string
}

// parseInterfaces gives the stanzas of an interfaces(5) file that Debian's /etc/network/if-up.d/ucarp begins a ucarp for. Options of the same
// interface in several stanzas stay apart, as ifup runs the script once for each.
func parseInterfaces(src Source) ([]stanza, error) {
	if len(src.Text) > maxInterfaces || !utf8.Valid(src.Text) || strings.ContainsRune(string(src.Text), 0) {
		return nil, fmt.Errorf("%s: %w", src.Name, errInterfaces)
	}
	var all []stanza
	var cur *stanza
	end := func() {
		if cur != nil && cur.options.values != nil {
			all = append(all, *cur)
		}
		cur = nil
	}
	text := strings.Split(string(src.Text), "\n")
	for i := 0; i < len(text); i++ {
		at, line := i+1, text[i]
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for strings.HasSuffix(line, "\\") && i+1 < len(text) && len(line) <= maxInterfacesLine {
			i++
			line = strings.TrimSuffix(line, "\\") + text[i]
		}
		if len(line) > maxInterfacesLine {
			return nil, fmt.Errorf("%s:%d: %w: the line is too long", src.Name, at, errInterfaces)
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		switch word := fields[0]; {
		case word == "iface" && len(fields) > 1:
			end()
			cur = &stanza{iface: fields[1], line: at}
		case word == "iface" || word == "auto" || word == "mapping" || word == "source" || word == "source-directory" || word == "template" ||
			word == "rename" || strings.HasPrefix(word, "allow-") || strings.HasPrefix(word, "no-"):
			end()
		case cur != nil && strings.HasPrefix(word, "ucarp-"):
			cur.option(fmt.Sprintf("%s:%d", src.Name, at), strings.TrimPrefix(word, "ucarp-"), strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), word)))
		}
	}
	end()
	return all, nil
}

// option notes "ucarp-NAME value", which the script sees as IF_UCARP_NAME.
func (s *stanza) option(from, name, value string) {
	switch long, known := names[strings.ToUpper(strings.ReplaceAll(name, "-", "_"))]; {
	case !known:
		s.notes = append(s.notes, fmt.Sprintf("%s: ucarp-%s means nothing to ucarp that is known here; it was left out", from, name))
	case value == "":
	case takesValue(long):
		s.options.set(long, value)
	case !off(value):
		s.options.set(long, "")
	}
}

// stanzas makes a group of each stanza that is whole; the script begins nothing for another one.
func (im *Import) stanzas(src Source) error {
	list, err := parseInterfaces(src)
	if err != nil {
		return err
	}
	if len(im.Groups)+len(list) > maxGroups {
		return fmt.Errorf("%s: %d stanzas: at most %d are read", src.Name, len(list), maxGroups)
	}
	for _, s := range list {
		from := fmt.Sprintf("%s:%d", src.Name, s.line)
		im.Notes = append(im.Notes, s.notes...)
		whole := true
		for _, long := range []string{"vhid", "addr", "pass"} {
			_, given := s.options.Get(long)
			whole = whole && given
		}
		if !whole {
			im.note(from, "iface %s has not all of ucarp-vid, ucarp-vip and ucarp-password: ifup starts no ucarp for it, and it was left out", s.iface)
			continue
		}
		s.options.set("interface", s.iface)
		s.options.set("shutdown", "")
		if _, given := s.options.Get("upscript"); !given {
			s.options.set("upscript", debianUp)
		}
		if _, given := s.options.Get("downscript"); !given {
			s.options.set("downscript", debianDown)
		}
		im.note(from, "take the lines ucarp-… out of the stanza of %s: ifup would start that ucarp beside kvmha", s.iface)
		if err := im.add(s.iface, from, s.options); err != nil {
			return err
		}
	}
	return nil
}
