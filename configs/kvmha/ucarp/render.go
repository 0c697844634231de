package ucarp

import (
	"fmt"
	"path/filepath"
	"strings"

	"kvmctl/configs/strict"
	"kvmctl/ha"
)

// Password is a file that has to be written, mode 0600.
type Password struct {
	File string
	Text ha.Secret
}

// Render writes what was read as a kvmha.toml, without any password in it: those are returned as files below dir.
func (im *Import) Render(dir string) (text string, passwords []Password) {
	var b strings.Builder
	b.WriteString("# Made by kvmha import-ucarp. `kvmha check` says what it promises; every key is in kvmha.reference.toml.\n")
	for _, g := range im.Groups {
		line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
		file := g.PasswordFile
		if file == "" {
			file = filepath.Join(dir, g.Name+".password")
			if !g.Password.IsZero() {
				passwords = append(passwords, Password{file, g.Password})
			}
		}
		line("\n[group.%s]", g.Name)
		line("interface = %s", strict.Quote(g.Interface))
		line("vhid = %d", g.VHID)
		line("addresses = [%s]", strict.Quote(g.Addresses[0].String()))
		line("password_file = %s", strict.Quote(file))
		line("peer = \"ucarp\"")
		if g.Base != ha.DefaultBase {
			line("base = %d", g.Base)
		}
		line("skew = %d", g.Skew)
		if g.DeadRatio != ha.DefaultDeadRatio {
			line("dead_ratio = %d", g.DeadRatio)
		}
		if g.Preempt {
			line("preempt = true\npreempt_delay = %s", strict.Quote(strict.Short(g.PreemptDelay)))
		}
		if g.IgnoreCarrier {
			line("ignore_carrier = true")
		}
		for _, u := range g.Units {
			line("\n[[group.%s.unit]]", g.Name)
			line("type = \"ucarp\"\nname = %s\nstart = %s", strict.Quote(u.Name), strict.List(u.Start))
			if len(u.Stop) > 0 {
				line("stop = %s", strict.List(u.Stop))
			}
			if u.XParam != "" {
				line("xparam = %s", strict.Quote(u.XParam))
			}
		}
	}
	return b.String(), passwords
}
