package check

import (
	"errors"
	"fmt"
	"strings"
)

// PF asks whether the packet filter is enabled. Only FreeBSD's is asked.
type PF struct{}

// PFSync asks whether the states of the packet filter are passed on: the interface is up, has a device to send on, and has got the other side's.
type PFSync struct {
	Interface string // "pfsync0"
}

// DefaultPFSync is the interface that there is where there is one.
const DefaultPFSync = "pfsync0"

// Kind implements Spec.
func (PF) Kind() string { return "pf" }

// Kind implements Spec.
func (PFSync) Kind() string { return "pfsync" }

// Validate implements Spec.
func (PF) Validate() error { return nil }

// Validate implements Spec.
func (s PFSync) Validate() error {
	if rest, ok := strings.CutPrefix(s.Interface, "pfsync"); !ok || rest == "" || strings.Trim(rest, "0123456789") != "" {
		return fmt.Errorf("interface %q is not one such as pfsync0", s.Interface)
	}
	return nil
}

// What they say wherever there is no packet filter that they know how to ask.
var (
	errNoPF     = errors.New("there is no pf on this system")
	errNoPFSync = errors.New("there is no pfsync on this system")
)

// maxPF bounds what is read of a program's output, in bytes.
const maxPF = 16 << 10

// judgePF reads what pfctl -si prints (pfctl(8); print_status in sbin/pfctl/pfctl_parser.c): a line "Status: Enabled for 25 days 16:23:32" or
// "Status: Disabled", with "Debug: …" behind it.
func judgePF(out []byte) error {
	for line := range strings.Lines(string(out[:min(len(out), maxPF)])) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "Status: ")
		if !ok {
			continue
		}
		state, _, _ := strings.Cut(rest, " ")
		switch state {
		case "Enabled":
			return nil
		case "Disabled":
			return errors.New("pf is disabled: pfctl -e")
		}
		return fmt.Errorf("pf says of its status %s", shortQuote([]byte(rest)))
	}
	return errors.New("pfctl -si tells no status")
}

// judgePFSync reads what ifconfig prints of a pfsync interface (sbin/ifconfig/ifpfsync.c). Its line begins with "pfsync: " or not, and ends with
// "syncok: 1" or has that on a line of its own, by the system's age; those before FreeBSD 11 do not tell it.
func judgePFSync(name string, out []byte) error {
	head, rest, _ := strings.Cut(string(out[:min(len(out), maxPF)]), "\n")
	flags, ok := strings.CutPrefix(head, name+": flags=")
	_, flags, opened := strings.Cut(flags, "<")
	flags, _, closed := strings.Cut(flags, ">")
	if !ok || !opened || !closed {
		return fmt.Errorf("ifconfig tells no flags of %s", name)
	}
	if !strings.Contains(","+flags+",", ",UP,") {
		return fmt.Errorf("%s is down: ifconfig %s up", name, name)
	}
	words := strings.Fields(rest)
	value := func(key string) (string, bool) {
		for i := range len(words) - 1 {
			if words[i] == key {
				return words[i+1], true
			}
		}
		return "", false
	}
	if device, ok := value("syncdev:"); !ok || device == "none" {
		return fmt.Errorf("%s has no syncdev: the states are passed on to nobody", name)
	}
	if got, told := value("syncok:"); told && got != "1" {
		return fmt.Errorf("%s has not got the states of the other side yet (syncok: %s)", name, shortQuote([]byte(got)))
	}
	return nil
}
