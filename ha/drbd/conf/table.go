package conf

import (
	"slices"
	"strings"
)

// form is how the value of an option looks: one of its words, or what a space-less word cannot be.
type form string

const (
	yesNo form = "\x00yes" // also: no value at all
	num   form = "\x00num"
	text  form = "\x00txt"
	many  form = "\x00lot" // several words
)

// known has every option of drbd.conf(5) 8.3, 8.4 and 9 with the form of its value; words separated by spaces are all that it may be.
var known = map[Section]map[string]form{
	Global: {
		"usage-count": "yes no ask", "dialog-refresh": num, "minor-count": num, "disable-ip-verification": yesNo, "udev-always-use-vnr": yesNo,
		"cmd-timeout-short": num, "cmd-timeout-medium": num, "cmd-timeout-long": num,
	},
	Net: {
		"protocol": "A B C a b c", "timeout": num, "max-epoch-size": num, "max-buffers": num, "connect-int": num, "ping-int": num, "ping-timeout": num,
		"sndbuf-size": num, "rcvbuf-size": num, "ko-count": num, "allow-two-primaries": yesNo, "cram-hmac-alg": text, "shared-secret": text,
		"after-sb-0pri": "disconnect discard-younger-primary discard-older-primary discard-zero-changes discard-least-changes discard-local discard-remote",
		"after-sb-1pri": "disconnect consensus discard-secondary call-pri-lost-after-sb violently-as0p",
		"after-sb-2pri": "disconnect call-pri-lost-after-sb violently-as0p", "always-asbp": yesNo,
		"rr-conflict":        "disconnect violently call-pri-lost retry-connect auto-discard",
		"data-integrity-alg": text, "tcp-cork": yesNo, "on-congestion": "block pull-ahead disconnect", "congestion-fill": num, "congestion-extents": num,
		"csums-alg": text, "csums-after-crash-only": yesNo, "verify-alg": text, "use-rle": yesNo, "socket-check-timeout": num,
		"fencing": "dont-care resource-only resource-and-stonith", "allow-remote-read": yesNo, "tls": yesNo, "tls-keyring": text, "tls-privkey": text,
		"tls-certificate": text, "transport": text, "load-balance-paths": yesNo, "unplug-watermark": num, "discard-my-data": yesNo,
		"rdma-ctrl-rcvbuf-size": num, "rdma-ctrl-sndbuf-size": num,
	},
	Disk: {
		"size": num, "on-io-error": "pass_on call-local-io-error detach", "disk-barrier": yesNo, "disk-flushes": yesNo, "disk-drain": yesNo,
		"md-flushes": yesNo, "resync-after": text, "al-extents": num, "al-updates": yesNo, "discard-zeroes-if-aligned": yesNo,
		"disable-write-same": yesNo, "disk-timeout": num, "read-balancing": text, "rs-discard-granularity": num, "bitmap": yesNo,
		"max-bio-bvecs": num, "use-bmbv": yesNo, "max-bio-size": num, "diskless": yesNo, "block-size": num, "discard-granularity": num,
		"resync-rate": num, "c-plan-ahead": num, "c-delay-target": num, "c-fill-target": num, "c-max-rate": num, "c-min-rate": num,
		"resync-without-replication": yesNo, "peer-tiebreaker": yesNo,
	},
	Options: {
		"cpu-mask": text, "on-no-data-accessible": "io-error suspend-io", "auto-promote": yesNo, "peer-ack-window": num, "peer-ack-delay": num,
		"twopc-timeout": num, "twopc-retry-timeout": num, "auto-promote-timeout": num, "max-io-depth": num, "quorum": text,
		"on-no-quorum": "io-error suspend-io", "quorum-minimum-redundancy": text, "on-suspended-primary-outdated": "disconnect force-secondary",
		"drbd8-api-compatibility": yesNo,
	},
	Startup: {
		"wfc-timeout": num, "degr-wfc-timeout": num, "outdated-wfc-timeout": num, "wait-after-sb": yesNo, "stacked-timeouts": yesNo, "become-primary-on": many,
	},
	Handlers: {
		"pri-on-incon-degr": text, "pri-lost-after-sb": text, "pri-lost": text, "initial-split-brain": text, "split-brain": text, "fence-peer": text,
		"unfence-peer": text, "local-io-error": text, "before-resync-target": text, "after-resync-target": text, "before-resync-source": text,
		"out-of-sync": text, "quorum-lost": text, "disconnected": text,
	},
}

// syncer is where the options of the syncer section of 8.3 belong today (drbd.conf(5) 8.3; drbdadm-84 moves them alike).
var syncer = map[string]Section{
	"resync-rate": Disk, "resync-after": Disk, "al-extents": Disk, "c-plan-ahead": Disk, "c-delay-target": Disk, "c-fill-target": Disk, "c-max-rate": Disk,
	"c-min-rate": Disk, "verify-alg": Net, "csums-alg": Net, "use-rle": Net, "cpu-mask": Options, "on-no-data-accessible": Options,
}

// renamed has the names of earlier releases.
var renamed = map[string]string{"outdate-peer": "fence-peer", "rate": "resync-rate", "after": "resync-after"}

// place finds the option that a name in a section of a file is. no: it was written "no-name".
func place(section, written string) (s Section, name string, f form, no, ok bool) {
	name = written
	if n, isOld := renamed[name]; isOld && (section == "syncer" || section == string(Handlers)) {
		name = n
	}
	for {
		if section == "syncer" {
			s = syncer[name]
		} else {
			s = Section(section)
		}
		if s == Disk && name == "fencing" { // of net since 9
			s = Net
		}
		if f, ok = known[s][name]; ok {
			return s, name, f, no, !no || f == yesNo
		}
		rest, cut := strings.CutPrefix(name, "no-")
		if !cut || no {
			return s, name, "", no, false
		}
		name, no = rest, true
	}
}

// names gives what a section of a file knows.
func names(section string) (all []string) {
	for s, options := range known {
		for name := range options {
			if string(s) == section || section == "syncer" && syncer[name] == s {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// fits reports whether a value has the form; what one says otherwise.
func (f form) fits(value string) (what string, ok bool) {
	switch f {
	case text, many:
		return "", true
	case num:
		_, ok = Number(value, 1)
		return "a number", ok
	case yesNo:
		return "yes or no", value == "yes" || value == "no"
	}
	words := strings.Fields(string(f))
	if slices.Contains(words, "discard-local") && strings.HasPrefix(value, "discard-node-") { // the node's name follows
		return "", true
	}
	return "one of " + strings.Join(words, ", "), slices.Contains(words, value)
}
