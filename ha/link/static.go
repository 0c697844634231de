package link

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"kvmctl/internal/smallfile"
)

// maxConfig bounds a file that is searched for addresses, in bytes.
const maxConfig = 1 << 20

// configs are where Debian's ways to configure networks keep them: interfaces(5), systemd.network(5), netplan(5), and NetworkManager's keyfiles.
var configs = []string{
	"/etc/network/interfaces", "/etc/network/interfaces.d/*",
	"/etc/systemd/network/*.network", "/etc/systemd/network/*.network.d/*.conf", "/run/systemd/network/*.network",
	"/etc/netplan/*.yaml", "/etc/NetworkManager/system-connections/*.nmconnection",
}

// Mention is a line of a configuration file with an address in it.
type Mention struct {
	File string
	Line int // from 1
}

func (m Mention) String() string { return fmt.Sprintf("%s:%d", m.File, m.Line) }

// Mentions gives where the configuration of networks below root ("/" but in tests) names an address: who has put it where it should not be. A file
// that cannot be read is left out.
func Mentions(root string, addr netip.Addr) (found []Mention) {
	for _, pattern := range configs {
		files, _ := filepath.Glob(filepath.Join(root, pattern)) // fails only for a bad pattern
		for _, name := range files {
			text, err := smallfile.Read(name, maxConfig)
			if err != nil {
				continue
			}
			for i, line := range strings.Split(string(text), "\n") {
				if mentions(line, addr) {
					found = append(found, Mention{name, i + 1})
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b Mention) int { return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line) })
	return found
}

// mentions reports whether a line that is no comment names the address, in whatever of its spellings, with or without a prefix length.
func mentions(line string, addr netip.Addr) bool {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
		return false
	}
	return slices.ContainsFunc(strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t=,;[]\"'", r) }), func(word string) bool {
		word, _, _ = strings.Cut(word, "/")
		got, err := netip.ParseAddr(word)
		return err == nil && got == addr
	})
}
