package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	oneResource = "resource r0 {\n net { protocol C; }\n on a { device /dev/drbd0; disk /dev/x; meta-disk internal; address 10.0.0.1:7788; }\n" +
		" on b { device /dev/drbd0; disk /dev/x; meta-disk internal; address 10.0.0.2:7788; }\n}\n"
	withStorage = "alone = \"a\"\n[[group.web.drbd]]\nresource = \"r0\"\n[[group.web.mount]]\ndevice = \"/dev/drbd0\"\ndirectory = \"/srv\"\n"
)

// A drbd.conf that loses data by itself is refused by a start, a reload and a restart alike, by the place in it; an agent that runs keeps its
// groups as they were.
func TestStorageOnADangerousDRBDIsRefused(t *testing.T) {
	s := start(t)
	plain := group("web", s.vip, 0, "")
	a := s.agent("a", plain)
	a.role("active")
	put := func(name, text string) {
		s.must(os.WriteFile(filepath.Join(a.root, "etc", name), []byte(text), 0o600))
	}
	put("hostname", "a\n")
	put("drbd.conf", oneResource)
	// a peer of its own takes the place of the ucarp that the plain group has
	a.write("node = \"a\"\n[peer.b]\naddresses = [\"10.0.0.2\"]\n" + strings.Replace(group("web", s.vip, 0, withStorage), "peer = \"ucarp\"\n", "", 1))
	a.exits(0, "", "check")
	codes := map[string]int{"reload": 3, "restart": 3, "run": 2} // 2: nobody tries again
	for verb, code := range codes {
		a.exits(code, "storage is not safe here: "+a.root+"/etc/drbd.conf:1:10: no fencing policy: r0", verb)
		a.exits(code, " drbd lint", verb) // the hint
	}
	put("drbd.conf", "include \"gone\";\n"+oneResource)
	for verb, code := range codes {
		a.exits(code, a.root+"/etc/drbd.conf:1:9: ", verb)
	}
	a.role("active")
	a.write(plain)
	a.exits(0, "", "reload")
	a.role("active")
}
