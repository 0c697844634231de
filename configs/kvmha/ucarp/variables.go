package ucarp

import (
	"fmt"
	"strings"
)

// names says which option a variable means, as the init scripts and network scripts of Debian, Red Hat and Gentoo call them. A prefix (UCARP_,
// IF_UCARP_, OPT_) is taken off before.
var names = map[string]string{
	"INTERFACE": "interface", "IFACE": "interface", "IF": "interface", "DEV": "interface", "DEVICE": "interface", "BIND_INTERFACE": "interface",
	"SRCIP": "srcip", "SOURCE_ADDRESS": "srcip", "SRC_IP": "srcip", "REAL_ADDRESS": "srcip", "REALIP": "srcip", "ADDRESS": "srcip",
	"VHID": "vhid", "VID": "vhid", "ID": "vhid",
	"PASS": "pass", "PASSWORD": "pass", "PASSFILE": "passfile", "PASSWORD_FILE": "passfile",
	"ADDR": "addr", "VIP": "addr", "VIP_ADDRESS": "addr", "VIRTUAL_ADDRESS": "addr", "VIRTUAL_IP": "addr",
	"ADVBASE": "advbase", "ADVSKEW": "advskew", "SKEW": "advskew", "DEADRATIO": "deadratio", "DEAD_RATIO": "deadratio",
	"UPSCRIPT": "upscript", "UP_SCRIPT": "upscript", "VIP_UP": "upscript", "DOWNSCRIPT": "downscript", "DOWN_SCRIPT": "downscript", "VIP_DOWN": "downscript",
	"XPARAM": "xparam", "MCAST": "mcast", "FACILITY": "facility",
	"PREEMPT": "preempt", "MASTER": "preempt", "NEUTRAL": "neutral", "SHUTDOWN": "shutdown", "IGNOREIFSTATE": "ignoreifstate", "NOMCAST": "nomcast",
	"DAEMONIZE": "daemonize", "DEBUG": "debug",
}

// lines are variables that hold a piece of a command line.
var lines = map[string]bool{"OPTIONS": true, "OPTS": true, "ARGS": true, "DAEMON_ARGS": true, "DAEMON_OPTS": true, "EXTRA_PARAMS": true, "EXTRA_OPTIONS": true, "PARAMS": true}

// Source is a shell-like file.
type Source struct {
	Name string // for notes
	Text []byte
}

// read makes options of a file, and notes of what it could not use.
func read(src Source) (Options, []string, error) {
	var o Options
	list, skipped, err := ParseShell(src.Text)
	if err != nil {
		return o, nil, fmt.Errorf("%s: %w", src.Name, err)
	}
	var notes []string
	for _, n := range skipped {
		notes = append(notes, fmt.Sprintf("%s:%d: no plain assignment; it was passed over (no shell is run)", src.Name, n))
	}
	for _, a := range list {
		name := strings.ToUpper(a.Name)
		for _, p := range []string{"IF_UCARP_", "UCARP_", "OPT_"} {
			name = strings.TrimPrefix(name, p)
		}
		switch long, known := names[name]; {
		case lines[name]:
			more, err := ParseArgs(words(a.Value))
			if err != nil {
				return o, notes, fmt.Errorf("%s:%d: %s: %w", src.Name, a.Line, a.Name, err)
			}
			o = more.over(o)
		case !known:
			notes = append(notes, fmt.Sprintf("%s:%d: %s means nothing to ucarp that is known here; it was left out", src.Name, a.Line, a.Name))
		case a.Value == "":
		case takesValue(long):
			o.set(long, a.Value)
		case !off(a.Value):
			o.set(long, "")
		}
	}
	return o, notes, nil
}

func takesValue(long string) bool {
	for _, x := range options {
		if x.long == long {
			return x.value
		}
	}
	return false
}

// off reads a switch as Debian's if-up.d/ucarp does.
func off(s string) bool {
	for _, p := range []string{"no", "off", "false", "0"} {
		if strings.HasPrefix(strings.ToLower(s), p) {
			return true
		}
	}
	return false
}
