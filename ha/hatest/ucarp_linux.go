package hatest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// UCARP is a ucarp 1.5.2 and its scripts.
type UCARP struct {
	VHID     int
	Addr     netip.Addr // IPv4: ucarp knows no other
	Password string
	Base     int // seconds; 0 is 1
	Skew     int // 1/256 s
	Preempt  bool
	Keep     bool     // without -z: the down script is not run at its end
	Up, Down string   // lines of sh that the scripts begin with
	Extra    []string // further arguments
}

// UCARP starts a ucarp on the node, as Debian's package would, but in the foreground; its scripts add and delete the address.
func (n *Node) UCARP(u UCARP) (*Process, error) {
	if u.Base == 0 {
		u.Base = 1
	}
	up, errUp := n.script("vip-up", fmt.Sprintf("%s\nexec ip addr add %s/32 dev \"$1\"\n", u.Up, u.Addr))
	down, errDown := n.script("vip-down", fmt.Sprintf("%s\nexec ip addr del %s/32 dev \"$1\"\n", u.Down, u.Addr))
	pass := filepath.Join(n.dir, "ucarp.pass")
	if err := errors.Join(errUp, errDown, os.WriteFile(pass, []byte(u.Password+"\n"), 0o600)); err != nil {
		return nil, fmt.Errorf("write ucarp's files: %w", err)
	}
	argv := []string{"ucarp", "-i", n.Interface, "-s", n.Addr.String(), "-v", fmt.Sprint(u.VHID), "-o", pass, "-a", u.Addr.String(),
		"-b", fmt.Sprint(u.Base), "-k", fmt.Sprint(u.Skew), "-u", up, "-d", down}
	if u.Preempt {
		argv = append(argv, "-P")
	}
	if !u.Keep {
		argv = append(argv, "-z")
	}
	return n.Start("ucarp", append(argv, u.Extra...)...)
}

func (n *Node) script(name, text string) (string, error) {
	n.serial++
	path := filepath.Join(n.dir, fmt.Sprintf("%s.%d", name, n.serial))
	return path, os.WriteFile(path, []byte("#!/bin/sh\n"+strings.TrimLeft(text, "\n")), 0o755)
}
